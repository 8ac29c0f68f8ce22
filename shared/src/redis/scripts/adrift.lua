-- Puts jobs back into the index that their state asks for, and their tasks among those with ready jobs,
-- where somebody else took them out.
-- KEYS  1 routing
-- ARGV  3.. uuids
-- RETURNS  how many were put back
local mended, lists, known = 0, {}, {}
for i = 3, #ARGV do
  local uuid = ARGV[i]
  local rec = call('GET', T .. 's:' .. uuid)
  local state = rec and sub(rec, 1, 1)
  local line = rec and sub(rec, 17, 30) .. uuid
  local added = 0
  if state == 'R' then
    local way = lane(rec)
    local place = line .. way
    local priority, task = split(way, 1)
    local is_ready = call('ZSCORE', T .. 'r:' .. task, place)
    if is_ready and not known[task] then
      known[task] = true
      mended = mended + call('SADD', T .. 't', task)
    end
    local waits = is_ready or call('ZSCORE', T .. 'd', place) or call('ZSCORE', T .. 'p', place)
      or call('ZSCORE', T .. 'parked', place)
    if not waits then
      local ready = num(sub(rec, 43, 54))
      if ready > now then
        call('ZADD', T .. 'd', int(ready), place)
      else
        append(lists, task, priority, place)
      end
      local by = deadline(rec, ready)
      if by then call('ZADD', T .. 'x', int(by), place) end
      added = 1
    end
  elseif state == 'L' then
    -- As if its lease were over: whoever holds it renews it, or somebody takes it over.
    added = call('ZADD', T .. 'l', 'NX', int(boot), line)
  elseif state == 'S' or state == 'D' or state == 'O' then
    local kept = sub(rec, 111, 122)
    added = call('ZADD', T .. 'e:' .. state, 'NX', kept == NONE and '+inf' or int(num(kept)), line)
  end
  mended = mended + added
end
make_ready(lists)
return mended
