-- Sets how many jobs of a queue may run at once.
-- KEYS  1 routing
-- ARGV  3 how many (empty: no limit)
-- RETURNS  nothing
set_cap('q', ARGV[3])
return 1
