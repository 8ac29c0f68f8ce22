-- Does errands that were kept for this queue, or that nothing else comes with.
-- KEYS  1 routing
-- ARGV  3 how many, 4.. the errands
-- RETURNS  groups opened, 1 if a group has become complete
errands(4, tonumber(ARGV[3]), false)
line_up_born()
return {opened, has_completed}
