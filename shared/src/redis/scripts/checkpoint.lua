-- Writes and removes checkpoints: `T checkpoints` maps a name to "version body". T is that of the
-- namespace.
-- KEYS  1 routing
-- ARGV  3 name, 4 the version that was read (0: there was none; -: it is removed, whatever it is),
--       5 body, 6 how many there may be
-- RETURNS  the new version, 0 it is another one by now, -1 there are too many; of a removal 1, or 0 if
--          there was none
local key, name, version = T .. 'checkpoints', ARGV[3], ARGV[4]
if version == '-' then return call('HDEL', key, name) end
local found = call('HGET', key, name)
local next
if version == '0' then
  if found then return 0 end
  if call('HLEN', key) >= tonumber(ARGV[6]) then return -1 end
  -- From the clock: no later one of that name has a version that this one had.
  next = math.max(now, 1)
else
  if not found or string.match(found, '^(%d+) ') ~= version then return 0 end
  next = tonumber(version) + 1
end
call('HSET', key, name, int(next) .. ' ' .. ARGV[5])
return next
