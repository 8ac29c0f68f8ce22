-- Takes out of an index what has no record any more: somebody else took it away.
-- KEYS  1 routing
-- ARGV  3 index, 4 cursor, 5 about how many to look at
-- RETURNS  the next cursor (0: all seen), how many were taken out
local key, mended = T .. ARGV[3], 0
local seen = call('ZSCAN', key, ARGV[4], 'COUNT', ARGV[5])
for i = 1, #seen[2], 2 do
  local place = seen[2][i]
  local uuid = sub(place, 15, 46)
  local seq = call('GETRANGE', T .. 's:' .. uuid, 16, 29)
  local is_long = call('GETRANGE', T .. 's:' .. uuid, -16, -9) == ELSEWHERE
  if is_long and call('EXISTS', T .. 'm:' .. uuid) == 0 then
    -- What has lost its message cannot be run.
    call('DEL', T .. 's:' .. uuid)
    seq = ''
  end
  if seq ~= sub(place, 1, 14) then
    if seq == '' then
      call('DEL', T .. 'm:' .. uuid, T .. 'o:' .. uuid, T .. 'log:' .. uuid, T .. 'logk:' .. uuid,
        T .. 'sig:' .. uuid)
      tell({uuid})
    end
    if call('ZREM', key, place) == 1 then mended = mended + 1 end
  end
end
if sub(ARGV[3], 1, 2) == 'r:' and call('EXISTS', key) == 0 then
  call('SREM', T .. 't', sub(ARGV[3], 3))
  call('DEL', T .. 'b:' .. sub(ARGV[3], 3))
end
return {seen[1], mended}
