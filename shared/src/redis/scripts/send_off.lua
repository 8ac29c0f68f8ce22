-- Takes jobs that nobody holds out of all they lie in: they are on their way to another store,
-- each under a new fence. Those that are already come again, at their place.
-- KEYS  1 routing
-- ARGV  3 at most, 4 about how many bytes at most
-- RETURNS  {uuid, record, message if it is long, result (false: none), ...} in the order of the line,
--          1 if some that were listed by line_up are left
local limit, room = math.min(tonumber(ARGV[3]), 1000), tonumber(ARGV[4])
local out, count = {}, 0

-- Puts a job on its way, or further; false if there is none of this line that can go.
local function send(place)
  local seq, uuid = sub(place, 1, 14), sub(place, 15, 46)
  local rec = call('GET', T .. 's:' .. uuid)
  local message = rec and sub(rec, 17, 30) == seq and long_message(uuid, rec)
  if not message then
    -- The job is gone, or its message is; what names it must not come again.
    if #place > 46 then unwait(place) end
    forget(sub(place, 1, 46))
    return false
  end
  local state, way = sub(rec, 1, 1), sub(rec, 2, 2)
  local line = sub(place, 1, 46)
  if state == 'L' or way == '<' then return false end
  if way ~= '>' then
    if state == 'R' then
      local waits = line .. lane(rec)
      state = call('ZSCORE', T .. 'd', waits) and 'w' or 'r'
      unwait(waits)
    else
      call('ZREM', T .. 'e:' .. state, line)
      call('ZREM', T .. 'u', line)
      call('PERSIST', T .. 'm:' .. uuid)
      call('PERSIST', T .. 'o:' .. uuid)
      state = string.lower(state)
    end
    call('ZADD', T .. 'g', 0, line)
  end
  local fence = string.format('%014x', num(sub(rec, 3, 16)) + 1)
  local sent = state .. '>' .. fence .. sub(rec, 17)
  call('SET', T .. 's:' .. uuid, sent)
  local result = state == 's' and result_of(uuid, rec)
  for _, part in ipairs({uuid, sent, message}) do out[#out + 1] = part end
  out[#out + 1] = result
  count = count + 1
  room = room - #sent - #message - (result and #result or 0)
  return true
end

local going = call('ZRANGE', T .. 'g', 0, limit - 1)
local listed = call('ZRANGE', T .. 'h', 0, limit - 1)
local i, j = 1, 1
while count < limit and room > 0 do
  local again, fresh = going[i], listed[j]
  if not fresh and #listed == limit then break end
  if again and (not fresh or again <= fresh) then
    if not send(again) then call('ZREM', T .. 'g', again) end
    i = i + 1
  elseif fresh then
    send(fresh)
    call('ZREM', T .. 'h', fresh)
    j = j + 1
  else
    break
  end
end
local more = call('EXISTS', T .. 'h')
if more == 1 then call('PEXPIRE', T .. 'h', 3600000) end
return {out, more}
