-- Closes a complete group and does what comes with that.
-- KEYS  1 routing
-- ARGV  3 group, 4 how long it is kept (ms), 5 how many errands, 6.. the errands
-- RETURNS  {1 closed or 0 it was before, 1 if another group has become complete}
local key = T .. 'j:' .. ARGV[3]
if call('ZREM', T .. 'q', ARGV[3]) == 0 then return {0, 0} end
call('ZREM', T .. 'n', ARGV[3])
call('DEL', T .. 'k:' .. ARGV[3])
call('HSET', key, 'c', int(now))
call('PEXPIRE', key, ARGV[4])
errands(6, tonumber(ARGV[5]), false)
line_up_born()
return {1, has_completed}
