-- Lists errands for other queues that wait to be done, the oldest first; about 16 MiB of them.
-- KEYS  1 routing
-- ARGV  3 at most, 4 how long they have waited at least (ms)
-- RETURNS  {id, errands, ...}
local out, room = {}, 16777216
local ids = call('ZRANGEBYSCORE', T .. 'y', '-inf', now - tonumber(ARGV[4]), 'LIMIT', 0,
  tonumber(ARGV[3]))
for _, id in ipairs(ids) do
  local entry = room > 0 and call('HGET', T .. 'f', id)
  if entry then
    out[#out + 1] = id
    out[#out + 1] = entry
    room = room - #entry
  end
end
return out
