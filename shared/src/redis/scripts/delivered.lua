-- Forgets errands for other queues that have been done.
-- KEYS  1 routing
-- ARGV  3.. ids
-- RETURNS  how many
local ids = {}
for i = 3, #ARGV do ids[#ids + 1] = ARGV[i] end
each('HDEL', T .. 'f', ids)
each('ZREM', T .. 'y', ids)
return #ids
