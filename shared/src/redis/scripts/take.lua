-- Gives the oldest signal of a name that nobody has taken to an entry of a job's journal; the one
-- that the entry has taken before is given again.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 fence .. seq, 5 name, 6 the entry's key
-- RETURNS  the time (ms), then -1 if the job is not held so, 0 if there is none, 1 and the payload
local uuid, name, by = ARGV[3], ARGV[5] .. '\n', ARGV[6]
local rec = call('GETRANGE', T .. 's:' .. uuid, 0, 29)
if sub(rec, 1, 2) ~= 'L0' or sub(rec, 3, 30) ~= ARGV[4] then return {now, -1} end
local signals, all = T .. 'sig:' .. uuid, call('HGETALL', T .. 'sig:' .. uuid)
local field, found, first
for i = 1, #all, 2 do
  if sub(all[i], 1, #name) == name then
    local kept = all[i + 1]
    local taken = sub(kept, 23, 22 + num(sub(kept, 19, 22)))
    -- What was taken before comes before all numbers.
    local order = taken == by and 0 or taken == '' and num(sub(kept, 13, 18))
    if order and (not first or order < first) then first, field, found = order, all[i], kept end
  end
end
if not field then return {now, 0} end
local payload = sub(found, 23 + num(sub(found, 19, 22)))
call('HSET', signals, field, sub(found, 1, 18) .. string.format('%04x', #by) .. by .. payload)
return {now, 1, payload}
