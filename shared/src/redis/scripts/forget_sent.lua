-- Forgets jobs that are on their way, under exactly these fences.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, fence
-- RETURNS  per job 1 forgotten, 0 not
local out, gone, keys = {}, {}, {}
for i = 3, #ARGV, 2 do
  local uuid = ARGV[i]
  local rec = call('GETRANGE', T .. 's:' .. uuid, 0, 29)
  if sub(rec, 2, 2) == '>' and sub(rec, 3, 16) == ARGV[i + 1] then
    gone[#gone + 1] = sub(rec, 17, 30) .. uuid
    for _, kind in ipairs({'m:', 's:', 'o:', 'log:', 'logk:', 'sig:'}) do keys[#keys + 1] = T .. kind .. uuid end
    out[#out + 1] = 1
  else
    out[#out + 1] = 0
  end
end
each('ZREM', T .. 'g', gone)
for i = 1, #keys, 1998 do
  call('DEL', unpack(keys, i, math.min(i + 1997, #keys)))
end
return out
