-- Keeps a signal for a job, and wakes it if it sleeps for that.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 name, 5 key, 6 payload, 7 signals a job may keep
-- RETURNS  0 unknown job, 1 it has ended, 2 the signal was known, 3 there are too many, 4 kept
local uuid, field = ARGV[3], ARGV[4] .. '\n' .. ARGV[5]
local rec = call('GET', T .. 's:' .. uuid)
if not rec then return 0 end
local state, signals = sub(rec, 1, 1), T .. 'sig:' .. uuid
if state ~= 'R' and state ~= 'L' then return string.find('SDO', state, 1, true) and 1 or 0 end
if call('HEXISTS', signals, field) == 1 then return 2 end
local count = call('HLEN', signals)
if count >= tonumber(ARGV[7]) then return 3 end
call('SET', T .. 'logs', 1)
call('HSET', signals, field, hex(now) .. string.format('%06x', count + 1) .. '0000' .. ARGV[6])
if state == 'R' and call('HGET', T .. 'log:' .. uuid, '~') == sub(rec, 3, 16) .. ARGV[4] then
  local place = sub(rec, 17, 30) .. uuid .. lane(rec)
  if call('ZREM', T .. 'd', place) == 1 then
    rec = sub(rec, 1, 42) .. hex(now) .. sub(rec, 55)
    call('SET', T .. 's:' .. uuid, rec)
    local by = deadline(rec)
    if by then call('ZADD', T .. 'x', int(by), place) end
    local priority, task = split(place)
    make_ready({[task] = {priority, place}})
    tell({uuid})
  end
end
return 4
