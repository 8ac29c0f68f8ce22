-- Forgets jobs and open groups of a queue, whatever they are; with none left, all else that the queue holds.
-- KEYS  1 routing
-- ARGV  3 at most
-- RETURNS  how many
local left = math.min(tonumber(ARGV[3]), 1000)
local limit, changed = left, {}
local indexes = {'d', 'p', 'parked', 'l', 'g', 'i', 'e:S', 'e:D', 'e:O', 'x', 'u', 'h'}
for _, task in ipairs(call('SMEMBERS', T .. 't')) do indexes[#indexes + 1] = 'r:' .. task end
for _, index in ipairs(indexes) do
  if left <= 0 then break end
  for _, place in ipairs(call('ZRANGE', T .. index, 0, left - 1)) do
    local uuid = sub(place, 15, 46)
    local rec = call('GET', T .. 's:' .. uuid)
    if rec then call('DEL', T .. 'v:' .. sub(rec, 135, 166)) end
    if call('DEL', T .. 'm:' .. uuid, T .. 's:' .. uuid, T .. 'o:' .. uuid, T .. 'log:' .. uuid,
      T .. 'logk:' .. uuid, T .. 'sig:' .. uuid) > 0 then
      changed[#changed + 1] = uuid
    end
    call('ZREM', T .. index, place)
    left = left - 1
  end
end
for _, group in ipairs(left > 0 and call('ZRANGE', T .. 'n', 0, left - 1) or {}) do
  call('DEL', T .. 'j:' .. group, T .. 'k:' .. group)
  call('ZREM', T .. 'n', group)
  left = left - 1
end
tell(changed)
if limit > left then return limit - left end
for _, task in ipairs(call('SMEMBERS', T .. 't')) do call('DEL', T .. 'b:' .. task) end
for _, key in ipairs({'gate', 'seq', 'sealed', 't', 'a', 'z', 'f', 'y', 'n', 'q', 'times', 'due', 'cap', 'onces', 'logs'}) do call('DEL', T .. key) end
return 0
