-- Says which tasks a live supervisor knows in this queue, and how many of each may run at once.
-- KEYS  1 routing
-- ARGV  3 owner, 4 for how long (ms), 5 tasks, each with a newline after it, 6.. per task with a limit:
--       its name, how many
-- RETURNS  nothing
call('HSET', T .. 'a', ARGV[3], string.format('%.0f', boot + tonumber(ARGV[4])) .. '\n' .. ARGV[5])
call('PEXPIRE', T .. 'a', 600000)
local limited = {}
for i = 6, #ARGV, 2 do
  limited['t:' .. ARGV[i]] = true
  set_cap('t:' .. ARGV[i], ARGV[i + 1])
end
-- A limit that this supervisor's task has no more.
for _, field in ipairs(call('HKEYS', T .. 'cap')) do
  local is_its = field ~= 'q' and string.find('\n' .. ARGV[5], '\n' .. sub(field, 3) .. '\n', 1, true)
  if is_its and not limited[field] then set_cap(field, '') end
end
return 1
