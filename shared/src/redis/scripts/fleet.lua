-- Keeps the list of supervisors. Its keys are those of the namespace, of no queue.
-- KEYS  1 routing
-- ARGV  3 what: s (say it lives), g (it is gone), p (forget the dead), l (list them); 4 owner, or
--       at most; 5 for how long (ms), 6 what it says about itself (JSON), 7.. tasks and their
--       registrations
-- RETURNS  of l owner, 0 gone, 1 dead or 2 alive, what it said (false: forgotten), ...;
--          else how many were forgotten
local what, owner = ARGV[3], ARGV[4]
if what == 's' then
  call('ZADD', T .. 'fleet', boot + tonumber(ARGV[5]), owner)
  local about = '{"seen_ms":' .. int(now) .. ',' .. sub(ARGV[6], 2)
  call('SET', T .. 's:' .. owner, about, 'PX', 600000)
  for i = 7, #ARGV, 2 do call('HSET', T .. 'tasks', ARGV[i], ARGV[i + 1]) end
elseif what == 'g' then
  if call('ZSCORE', T .. 'fleet', owner) then call('ZADD', T .. 'fleet', 0, owner) end
elseif what == 'p' then
  local dead = call('ZRANGEBYSCORE', T .. 'fleet', '-inf', boot, 'LIMIT', 0, owner)
  if #dead > 0 then call('ZREM', T .. 'fleet', unpack(dead)) end
  return #dead
else
  local out, all = {}, call('ZREVRANGE', T .. 'fleet', 0, tonumber(owner) - 1, 'WITHSCORES')
  for i = 1, #all, 2 do
    local till = tonumber(all[i + 1])
    out[#out + 1] = all[i]
    out[#out + 1] = till == 0 and 0 or (till > boot and 2 or 1)
    out[#out + 1] = call('GET', T .. 's:' .. all[i])
  end
  return out
end
return 0
