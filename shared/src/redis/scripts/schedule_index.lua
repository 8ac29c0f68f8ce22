-- Keeps which schedule lies in which queue. Its keys are those of the namespace, of no queue.
-- KEYS  1 routing
-- ARGV  3 what: a (it is to lie there) or r (it lies there no more), 4 name, 5 queue, 6 most
-- RETURNS  of a: nothing if it may, "" if there are too many, else the queue that it lies in
local what, name, queue = ARGV[3], ARGV[4], ARGV[5]
local known = call('HGET', T .. 'schedules', name)
if what == 'r' then
  if known == queue then call('HDEL', T .. 'schedules', name) end
  return false
end
if known and known ~= queue then return known end
if not known and call('HLEN', T .. 'schedules') >= tonumber(ARGV[6]) then return '' end
call('HSET', T .. 'schedules', name, queue)
call('SADD', T .. 'scheduled', queue)
return false
