-- Keeps the list of supervisors. Its keys are those of the namespace, of no queue.
-- KEYS  1 routing
-- ARGV  3 what: s (say it lives), g (it is gone), p (forget the dead); 4 owner, or at most;
--       5 for how long (ms), 6 what it says about itself, 7.. tasks and their registrations
-- RETURNS  how many were forgotten
if ARGV[3] == 's' then
  call('ZADD', T .. 'fleet', boot + tonumber(ARGV[5]), ARGV[4])
  call('SET', T .. 's:' .. ARGV[4], ARGV[6], 'PX', 600000)
  for i = 7, #ARGV, 2 do call('HSET', T .. 'tasks', ARGV[i], ARGV[i + 1]) end
elseif ARGV[3] == 'g' then
  if call('ZSCORE', T .. 'fleet', ARGV[4]) then call('ZADD', T .. 'fleet', 0, ARGV[4]) end
else
  local dead = call('ZRANGEBYSCORE', T .. 'fleet', '-inf', boot, 'LIMIT', 0, ARGV[4])
  if #dead > 0 then call('ZREM', T .. 'fleet', unpack(dead)) end
  return #dead
end
return 0
