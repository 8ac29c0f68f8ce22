-- Ends a waiting job as revoked, or marks a running one and tells its supervisor.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 skip if running (0/1), 5 how long its end is kept (ms), 6 its seq as it was read
--       (empty: unknown), 7 how many errands come with its end, 8.. the errands
-- RETURNS  0 unknown, 1 had ended, 2 skipped, 3 ended, 4 told, -1 it is another one than was read
local uuid = ARGV[3]
local rec = call('GET', T .. 's:' .. uuid)
if not rec then return 0 end
local state = sub(rec, 1, 1)
local line = sub(rec, 17, 30) .. uuid
if state == 'L' then
  if ARGV[4] == '1' then return 2 end
  local owner = sub(rec, 135, 166)
  call('SET', T .. 's:' .. uuid, 'L1' .. sub(rec, 3))
  call('SADD', T .. 'v:' .. owner, line .. sub(rec, 3, 16))
  call('PUBLISH', sub(T, 1, string.find(T, '|', 1, true)) .. '}own:' .. owner, uuid)
  tell({uuid})
  return 4
end
local is_ended = state ~= 'r' and state ~= 'w' and state ~= 'R'
if is_ended then return 1 end
if sub(rec, 17, 30) ~= ARGV[6] then return -1 end
errands(8, tonumber(ARGV[7]), false)
line_up_born()
local kept = hex(now + tonumber(ARGV[5]))
if state == 'r' or state == 'w' then
  -- On its way to or from another store: its end travels instead, under a new fence.
  local fence = string.format('%014x', num(sub(rec, 3, 16)) + 1)
  local new = finish(rec, 'o', hex(now) .. kept .. NONE, 'f', history_of(rec), '', NOTHING)
  call('SET', T .. 's:' .. uuid, sub(new, 1, 2) .. fence .. sub(new, 17))
  tell({uuid})
  return 3
end
unwait(line .. lane(rec))
local new = finish(rec, 'O', hex(now) .. kept .. NONE, 'f', history_of(rec), '', NOTHING)
keep(uuid, new, life_until(kept))
call('ZADD', T .. 'e:O', int(num(kept)), line)
tell({uuid})
return 3
