-- Says that a supervisor is gone: its leases have ended.
-- KEYS  1 routing
-- ARGV  3 owner
-- RETURNS  how many leases it held
call('HDEL', T .. 'a', ARGV[3])
local held = 0
for _, line in ipairs(call('ZRANGE', T .. 'l', 0, 9999)) do
  if call('GETRANGE', T .. 's:' .. sub(line, 15, 46), 134, 165) == ARGV[3] then
    call('ZADD', T .. 'l', 0, line)
    held = held + 1
  end
end
return held
