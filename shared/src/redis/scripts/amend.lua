-- Changes the priority and the header of a job that waits, if it is still as it was read.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 priority and 5 header as they were read, 6 and 7 as they are to be
-- RETURNS  0 unknown, 1 it is so now, 2 it does not wait, 3 somebody else has changed it
local uuid = ARGV[3]
local key, kept = T .. 'm:' .. uuid, T .. 's:' .. uuid
local message = call('GET', key)
if not message then return 0 end
local own = call('GET', kept)
local rec = own or pristine(message)
if sub(rec, 1, 1) ~= 'R' then return 2 end
local start = string.find(message, '\n', 176, true) + 17
local bytes = num(sub(message, start, start + 7))
local header = sub(message, start + 8, start + 7 + bytes)
local old = lane(rec)
local priority = split(old, 1)
if priority == ARGV[6] and header == ARGV[7] then return 1 end
if priority ~= ARGV[4] or header ~= ARGV[5] then return 3 end

-- A record or the head of a message, with the new priority.
local function moved(text)
  return sub(text, 1, 175) .. ARGV[6] .. sub(text, (string.find(text, ':', 176, true)))
end
local head = moved(sub(message, 1, start - 1))
call('SET', key, head .. string.format('%08x', #ARGV[7]) .. ARGV[7] .. sub(message, start + 8 + bytes))
if own then call('SET', kept, moved(own)) end

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
