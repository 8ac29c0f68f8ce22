-- Says which tasks a live supervisor knows in this queue.
-- KEYS  1 routing
-- ARGV  3 owner, 4 for how long (ms), 5 tasks, each with a newline after it
-- RETURNS  nothing
call('HSET', T .. 'a', ARGV[3], string.format('%.0f', boot + tonumber(ARGV[4])) .. '\n' .. ARGV[5])
call('PEXPIRE', T .. 'a', 600000)
return 1
