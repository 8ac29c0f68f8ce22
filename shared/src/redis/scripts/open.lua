-- Opens a group for a producer.
-- KEYS  1 routing
-- ARGV  3 how many errands, 4.. the errands: one, that opens the group
-- RETURNS  groups opened (-1: the queue is draining), 1 if a group has become complete
if call('GET', T .. 'gate') == '2' and call('EXISTS', T .. 'j:' .. ARGV[5]) == 0 then return {-1, 0} end
errands(4, tonumber(ARGV[3]), false)
line_up_born()
return {opened, has_completed}
