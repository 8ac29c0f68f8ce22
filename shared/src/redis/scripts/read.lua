-- Reads jobs.
-- KEYS  1 routing
-- ARGV  3.. uuids
-- RETURNS  the time (ms), then per job false or {record, header, 1 if it is delayed, bytes of its
--          result (-1: none)}
local out = {now}
for i = 3, #ARGV do
  local uuid = ARGV[i]
  local head = call('GETRANGE', T .. 'm:' .. uuid, 0, 1199)
  if head == '' then
    out[#out + 1] = false
  else
    local stop = string.find(head, '\n', 176, true)
    local rec = call('GET', T .. 's:' .. uuid) or sub(head, 1, stop)
    local bytes = num(sub(head, stop + 17, stop + 24))
    local header = sub(head, stop + 25, stop + 24 + bytes)
    if #header < bytes then
      header = call('GETRANGE', T .. 'm:' .. uuid, stop + 24, stop + 23 + bytes)
    end
    local is_delayed, result = 0, -1
    local state = sub(rec, 1, 1)
    if state == 'R' then
      if call('ZSCORE', T .. 'd', sub(rec, 17, 30) .. uuid .. lane(rec)) then is_delayed = 1 end
    elseif state == 'S' or state == 's' then
      local key = T .. 'o:' .. uuid
      local till, kept = sub(rec, 123, 134), sub(rec, 111, 122)
      local is_over = (till ~= NONE and num(till) <= now) or (kept ~= NONE and num(kept) <= now)
      if not is_over and call('EXISTS', key) == 1 then result = call('STRLEN', key) end
    end
    out[#out + 1] = {rec, header, is_delayed, result}
  end
end
return out
