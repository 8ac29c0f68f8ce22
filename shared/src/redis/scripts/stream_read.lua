-- Reads events of one partition, until they are many or large.
-- KEYS  1 routing
-- ARGV  3 partition, 4 after this id, 5 at most, 6 bytes, about
-- RETURNS  as XRANGE does
local all, bytes, after, left = {}, 0, ARGV[4], tonumber(ARGV[5])
while left > 0 do
  local asked = math.min(left, 16)
  local some = call('XRANGE', T .. 'ev:' .. ARGV[3], '(' .. after, '+', 'COUNT', asked)
  for _, one in ipairs(some) do
    for _, word in ipairs(one[2]) do bytes = bytes + #word end
    if bytes > tonumber(ARGV[6]) and #all > 0 then return all end
    all[#all + 1] = one
    after = one[1]
  end
  if #some < asked then break end
  left = left - asked
end
return all
