-- Reads jobs.
-- KEYS  1 routing
-- ARGV  3.. uuids
-- RETURNS  the time (ms), then per job false or {record, header of its message if that is long, 1 if it
--          is delayed, bytes of its result (-1: none)}
local out = {now}
for i = 3, #ARGV do
  local uuid = ARGV[i]
  local rec = call('GET', T .. 's:' .. uuid)
  local header = rec and ''
  if rec and sub(rec, -16, -9) == ELSEWHERE then
    -- A long message is mostly payload.
    local key = T .. 'm:' .. uuid
    local bytes = num(call('GETRANGE', key, 16, 23))
    header = bytes and call('GETRANGE', key, 24, 23 + bytes)
  end
  if not header then
    out[#out + 1] = false
  else
    local is_delayed, result = 0, -1
    local state = sub(rec, 1, 1)
    if state == 'R' then
      if call('ZSCORE', T .. 'd', sub(rec, 17, 30) .. uuid .. lane(rec)) then is_delayed = 1 end
    elseif (state == 'S' or state == 's') and not is_over(rec) then
      local bytes = sub(rec, -8)
      if bytes == ELSEWHERE then
        local key = T .. 'o:' .. uuid
        if call('EXISTS', key) == 1 then result = call('STRLEN', key) end
      elseif bytes ~= NOTHING then
        result = num(bytes)
      end
    end
    out[#out + 1] = {rec, header, is_delayed, result}
  end
end
return out
