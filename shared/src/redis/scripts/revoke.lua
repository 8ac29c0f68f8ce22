-- Ends a waiting job as revoked, or marks a running one and tells its supervisor.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 skip if running (0/1), 5 how long its end is kept (ms)
-- RETURNS  0 unknown, 1 had ended, 2 skipped, 3 ended, 4 told
local uuid = ARGV[3]
local rec = record(uuid)
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
local kept = hex(now + tonumber(ARGV[5]))
if state == 'r' or state == 'w' then
  -- On its way to or from another store: its end travels instead, under a new fence.
  local fence = string.format('%014x', num(sub(rec, 3, 16)) + 1)
  local stop = string.find(rec, '\n', 176, true) + num(sub(rec, 168, 175))
  local new = finish(rec, 'o', hex(now), kept, NONE, 'f', sub(rec, stop + 1))
  call('SET', T .. 's:' .. uuid, sub(new, 1, 2) .. fence .. sub(new, 17))
  tell({uuid})
  return 3
end
if state ~= 'R' then return 1 end
unwait(line .. lane(rec))
local stop = string.find(rec, '\n', 176, true) + num(sub(rec, 168, 175))
local new, life = finish(rec, 'O', hex(now), kept, NONE, 'f', sub(rec, stop + 1))
keep(uuid, new, life)
call('ZADD', T .. 'e:O', int(num(kept)), line)
tell({uuid})
return 3
