-- Writes what jobs are to remember, each entry under the fence of its attempt.
-- KEYS  1 routing
-- ARGV  3 entries a journal may have, 4 bytes it may have, 5.. per entry: uuid, fence .. seq, key,
--       1 if its writer takes the journal for empty, body
-- RETURNS  the time (ms), then per entry when its key was first written (ms), or -1 the job is not
--          held so, -2 the journal is not empty, -3 it is full: nothing written
local most, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local out = {now}
call('SET', T .. 'logs', 1)
for i = 5, #ARGV, 5 do
  local uuid, key, body = ARGV[i], ARGV[i + 2], ARGV[i + 4]
  local rec = call('GETRANGE', T .. 's:' .. uuid, 0, 29)
  local log, order = T .. 'log:' .. uuid, T .. 'logk:' .. uuid
  local count = call('LLEN', order)
  if sub(rec, 1, 2) ~= 'L0' or sub(rec, 3, 30) ~= ARGV[i + 1] then
    out[#out + 1] = -1
  elseif ARGV[i + 3] == '1' and count > 0 then
    out[#out + 1] = -2
  else
    local before = call('HGET', log, key)
    local at = before and num(sub(before, 1, 12)) or now
    local number = before and sub(before, 13, 18) or string.format('%06x', count + 1)
    local bytes = tonumber(call('HGET', log, '#') or 0) + #body - (before and #before - 18 or 0)
    if bytes > room or (not before and count >= most) then
      out[#out + 1] = -3
    else
      if not before then call('RPUSH', order, key) end
      call('HSET', log, key, hex(at) .. number .. body, '#', int(bytes))
      out[#out + 1] = at
    end
  end
end
return out
