-- Forgets ended jobs and results whose time is over.
-- KEYS  1 routing
-- ARGV  3 at most
-- RETURNS  how many
local left = math.min(tonumber(ARGV[3]), 1000)
local limit = left
for _, state in ipairs({'S', 'D', 'O'}) do
  if left > 0 then
    local key = T .. 'e:' .. state
    for _, line in ipairs(call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, left)) do
      forget(line)
      left = left - 1
    end
  end
end
if left > 0 then
  for _, line in ipairs(call('ZRANGEBYSCORE', T .. 'u', '-inf', now, 'LIMIT', 0, left)) do
    local uuid = sub(line, 15, 46)
    local rec = call('GET', T .. 's:' .. uuid)
    if rec and sub(rec, 17, 30) == sub(line, 1, 14) then drop_result(uuid, rec) end
    call('ZREM', T .. 'u', line)
    left = left - 1
  end
end
return limit - left + forget_keys(left)
