-- Forgets dead letters; what is none, or no more, is left alone.
-- KEYS  1 routing
-- ARGV  3.. uuids
-- RETURNS  how many were forgotten
local dropped = {}
for i = 3, #ARGV do
  local rec = call('GETRANGE', T .. 's:' .. ARGV[i], 0, 29)
  if sub(rec, 1, 1) == 'D' then
    forget(sub(rec, 17, 30) .. ARGV[i])
    dropped[#dropped + 1] = ARGV[i]
  end
end
tell(dropped)
return #dropped
