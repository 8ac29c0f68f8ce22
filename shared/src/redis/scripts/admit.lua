-- Makes jobs that have arrived what they were in the store they come from.
-- KEYS  1 routing
-- ARGV  3 at most
-- RETURNS  how many
local lines = call('ZRANGE', T .. 'i', 0, math.min(tonumber(ARGV[3]), 1000) - 1)
local lists, delayed, ending, changed = {}, {}, {}, {}
for _, line in ipairs(lines) do
  local uuid = sub(line, 15, 46)
  local rec = call('GET', T .. 's:' .. uuid)
  if rec and sub(rec, 2, 2) == '<' and sub(rec, 17, 30) == sub(line, 1, 14) then
    changed[#changed + 1] = uuid
    local was = sub(rec, 1, 1)
    if was == 'r' or was == 'w' then
      local new = 'R0' .. sub(rec, 3)
      call('SET', T .. 's:' .. uuid, new)
      local ready, way = num(sub(rec, 43, 54)), lane(rec)
      local place = line .. way
      if was == 'w' and ready > now then
        delayed[#delayed + 1] = int(ready)
        delayed[#delayed + 1] = place
      else
        local priority, task = split(way, 1)
        append(lists, task, priority, place)
      end
      local by = deadline(new, ready)
      if by then
        ending[#ending + 1] = int(by)
        ending[#ending + 1] = place
      end
    else
      local state, kept, till = string.upper(was), sub(rec, 111, 122), sub(rec, 123, 134)
      local life = life_until(kept)
      keep(uuid, state .. '0' .. sub(rec, 3), life)
      call('ZADD', T .. 'e:' .. state, kept == NONE and '+inf' or int(num(kept)), line)
      if state == 'S' and sub(rec, -8) ~= NOTHING then
        if till ~= NONE then
          call('ZADD', T .. 'u', int(num(till)), line)
          life = life_until(till)
        end
        if life and sub(rec, -8) == ELSEWHERE then call('PEXPIRE', T .. 'o:' .. uuid, life) end
      end
    end
  end
end
each('ZREM', T .. 'i', lines)
each('ZADD', T .. 'd', delayed)
each('ZADD', T .. 'x', ending)
make_ready(lists)
tell(changed)
return #lines
