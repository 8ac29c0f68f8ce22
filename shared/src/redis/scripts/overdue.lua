-- Looks whether there is something to take over.
-- KEYS  1 routing
-- ARGV  3 what: l (leases) or x (jobs that wait too long)
-- RETURNS  1 or 0
local by = ARGV[3] == 'l' and boot or now
return #call('ZRANGEBYSCORE', T .. ARGV[3], '-inf', by, 'LIMIT', 0, 1)
