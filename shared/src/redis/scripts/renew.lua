-- Extends leases.
-- KEYS  1 routing
-- ARGV  3 lease (ms), 4.. per lease: uuid, fence .. seq
-- RETURNS  per lease 1 held, 2 held and revoked, 0 lost
local till = int(boot + tonumber(ARGV[3]))
local out, leases = {}, {}
for i = 4, #ARGV, 2 do
  local uuid = ARGV[i]
  local rec = call('GETRANGE', T .. 's:' .. uuid, 0, 29)
  if sub(rec, 1, 1) == 'L' and sub(rec, 3, 30) == ARGV[i + 1] then
    leases[#leases + 1] = till
    leases[#leases + 1] = sub(rec, 17, 30) .. uuid
    out[#out + 1] = sub(rec, 2, 2) == '1' and 2 or 1
  else
    out[#out + 1] = 0
  end
end
each('ZADD', T .. 'l', leases)
return out
