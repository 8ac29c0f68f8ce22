-- Reads a part of what a job remembers, for the attempt that holds it.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 fence .. seq, 5 entries to pass over, 6 entries at most, 7 bytes at most, about
-- RETURNS  false if the job is not held so; else the time (ms), 1 if there is more, key, entry, ...
local uuid = ARGV[3]
local rec = call('GETRANGE', T .. 's:' .. uuid, 0, 29)
if sub(rec, 1, 1) ~= 'L' or sub(rec, 3, 30) ~= ARGV[4] then return false end
local after, most, room = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local keys = call('LRANGE', T .. 'logk:' .. uuid, after, after + most)
local out, taken = {now, 0}, 0
for i = 1, #keys do
  if i > most or room <= 0 then
    out[2] = 1
    break
  end
  local entry = call('HGET', T .. 'log:' .. uuid, keys[i])
  if entry then
    out[#out + 1] = keys[i]
    out[#out + 1] = entry
    room = room - #entry
  end
end
return out
