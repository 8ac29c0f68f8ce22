-- Reads groups.
-- KEYS  1 routing
-- ARGV  3.. uuids
-- RETURNS  per group what its hash holds, or nothing
local out = {}
for i = 3, #ARGV do out[#out + 1] = call('HGETALL', T .. 'j:' .. ARGV[i]) end
return out
