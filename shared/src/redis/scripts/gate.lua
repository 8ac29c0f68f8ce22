-- Sets what a queue lets through.
-- KEYS  1 routing
-- ARGV  3 0 all, 1 nothing is started, 2 nothing comes in
-- RETURNS  what it was
local before = call('GET', T .. 'gate') or '0'
if ARGV[3] == '0' then call('DEL', T .. 'gate') else call('SET', T .. 'gate', ARGV[3]) end
-- Who numbers jobs by these, as earlier releases do, looks at the gate once they are gone.
call('DEL', T .. 'seq', T .. 'sealed')
if ARGV[3] ~= '1' then
  for _, task in ipairs(call('SMEMBERS', T .. 't')) do ring(task) end
end
return tonumber(before)
