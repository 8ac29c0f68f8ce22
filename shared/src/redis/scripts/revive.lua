-- Makes a dead letter ready again, if it is still the one that was read.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 fence .. seq as read, 5 history with fresh budgets
-- RETURNS  1 or 0
local uuid = ARGV[3]
local rec = call('GET', T .. 's:' .. uuid)
if not rec or sub(rec, 1, 1) ~= 'D' or sub(rec, 3, 30) ~= ARGV[4] then return 0 end
local fence = string.format('%014x', num(sub(rec, 3, 16)) + 1)
-- A life time that has ended would end it again at once; whoever retries it wants it run.
local new = waiting(rec, fence, now, NONE, ARGV[5])
call('SET', T .. 's:' .. uuid, new)
for _, kind in ipairs({'m:', 'log:', 'logk:', 'sig:'}) do call('PERSIST', T .. kind .. uuid) end
call('DEL', T .. 'o:' .. uuid)
local line = sub(rec, 17, 30) .. uuid
call('ZREM', T .. 'e:D', line)
call('ZREM', T .. 'u', line)
local way = lane(rec)
local priority, task = split(way, 1)
local by = deadline(new, now)
if by then call('ZADD', T .. 'x', int(by), line .. way) end
make_ready({[task] = {priority, line .. way}})
tell({uuid})
return 1
