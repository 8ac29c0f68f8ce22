-- Lists groups whose members have all ended and that nobody has closed.
-- KEYS  1 routing
-- ARGV  3 at most
-- RETURNS  {group, record, bytes, {place, failed and uuid, ...}, {place, body, ...}, ...}
local out = {}
for _, group in ipairs(call('ZRANGE', T .. 'q', 0, tonumber(ARGV[3]) - 1)) do
  local key = T .. 'j:' .. group
  local about = call('HMGET', key, 'r', 'b')
  if about[1] then
    local places, all = {}, call('HGETALL', key)
    for i = 1, #all, 2 do
      if #all[i] == 9 then
        places[#places + 1] = sub(all[i], 2)
        places[#places + 1] = all[i + 1]
      end
    end
    for _, part in ipairs({group, about[1], about[2] or '0', places, call('HGETALL', T .. 'k:' .. group)}) do
      out[#out + 1] = part
    end
  else
    call('ZREM', T .. 'q', group)
  end
end
return out
