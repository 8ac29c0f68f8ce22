-- Forgets jobs that wait or have ended.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, its seq as it was read (empty: unknown), how many errands come with its
--       end if it waits, the errands
-- RETURNS  how many were forgotten, how many wait and are others than were read
local removed, changed = 0, 0
local i = 3
while ARGV[i] do
  local uuid, seq, n = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local rec = call('GET', T .. 's:' .. uuid)
  local state = rec and sub(rec, 1, 1)
  local waits, is_ours = state == 'R', rec and sub(rec, 17, 30) == seq
  i = errands(i + 3, n, not (waits and is_ours))
  if waits and not is_ours then
    changed = changed + 1
  elseif rec and string.find('RSDO', state, 1, true) then
    local line = sub(rec, 17, 30) .. uuid
    if waits then unwait(line .. lane(rec)) end
    forget(line)
    tell({uuid})
    removed = removed + 1
  end
end
line_up_born()
return {removed, changed}
