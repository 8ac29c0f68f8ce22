-- Forgets jobs that wait or have ended.
-- KEYS  1 routing
-- ARGV  3.. uuids
-- RETURNS  how many
local removed = 0
for i = 3, #ARGV do
  local uuid = ARGV[i]
  local rec = record(uuid)
  if rec and string.find('RSDO', sub(rec, 1, 1), 1, true) then
    local line = sub(rec, 17, 30) .. uuid
    if sub(rec, 1, 1) == 'R' then unwait(line .. lane(rec)) end
    forget(line)
    tell({uuid})
    removed = removed + 1
  end
end
return removed
