-- Counts leases by who holds them.
-- KEYS  1 routing
-- ARGV  3 at most so many are looked at
-- RETURNS  owner, how many, ...; false if there are more
local most = tonumber(ARGV[3])
if call('ZCARD', T .. 'l') > most then return false end
local held = {}
for _, line in ipairs(call('ZRANGE', T .. 'l', 0, most - 1)) do
  local owner = call('GETRANGE', T .. 's:' .. sub(line, 15, 46), 134, 165)
  held[owner] = (held[owner] or 0) + 1
end
local out = {}
for owner, count in pairs(held) do
  out[#out + 1] = owner
  out[#out + 1] = count
end
return out
