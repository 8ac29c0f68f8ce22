-- Changes the priority and the header of a job that waits, if it is still as it was read.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 priority and 5 header as they were read, 6 and 7 as they are to be
-- RETURNS  0 unknown, 1 it is so now, 2 it does not wait, 3 somebody else has changed it
local uuid = ARGV[3]
local rec = call('GET', T .. 's:' .. uuid)
local message = rec and message_of(uuid, rec)
if not message then return 0 end
if sub(rec, 1, 1) ~= 'R' then return 2 end
local bytes = num(sub(message, 17, 24))
local header = sub(message, 25, 24 + bytes)
local old = lane(rec)
local priority = split(old, 1)
if priority == ARGV[6] and header == ARGV[7] then return 1 end
if priority ~= ARGV[4] or header ~= ARGV[5] then return 3 end

message = sub(message, 1, 16) .. string.format('%08x', #ARGV[7]) .. ARGV[7] .. sub(message, 25 + bytes)
local new = sub(rec, 1, 175) .. ARGV[6]
  .. sub(rec, (string.find(rec, ':', 176, true)), -17 - message_bytes(rec))
-- It stays where it is, though it may be longer or shorter now.
if sub(rec, -16, -9) == ELSEWHERE then
  call('SET', T .. 'm:' .. uuid, message)
  new = new .. sub(rec, -16)
else
  new = new .. message .. string.format('%08x', #message) .. NOTHING
end
call('SET', T .. 's:' .. uuid, new)

if priority ~= ARGV[6] then
  local new = ARGV[6] .. sub(old, (string.find(old, ':', 1, true)))
  local line = sub(rec, 17, 30) .. uuid
  local from, to = line .. old, line .. new
  local _, task, gate = split(from)
  local function rename(index, score)
    local at = call('ZSCORE', T .. index, from)
    if at then
      -- In this order: an index that is empty for a moment would be gone.
      call('ZADD', T .. index, score or at, to)
      call('ZREM', T .. index, from)
    end
  end
  rename('r:' .. task, ARGV[6])
  if gate then
    rename('park:' .. string.match(gate, '^%d+(.*)$'), ARGV[6])
    rename('parked')
  end
  for _, index in ipairs({'d', 'p', 'x'}) do rename(index) end
end
tell({uuid})
return 1
