-- Stores jobs of one queue, ready or delayed, if their uuids are new.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, priority, task and gate, ready at (ms; empty: now), ttl (ms; empty: none),
--       expires at (ms; empty: none), rest of the record from byte 55, token and message,
--       unique key (empty: none), for how long (ms; `e`: until its job has ended)
-- RETURNS  per job 1 created, 0 known, or the uuid of another that has its unique key. A job that was created with the same token is created.
local n = (#ARGV - 2) / 9
local last = call('INCRBY', T .. 'seq', n)
if last == n then
  -- From the clock: a number that was given out is not given out again, whatever was lost.
  last = math.floor(now / 1000) * 1048576 + n
  call('SET', T .. 'seq', string.format('%.0f', last))
end
local out, delayed, ending, ready_lists = {}, {}, {}, {}
local at = hex(now)
for i = 1, n do
  local b = 2 + (i - 1) * 9
  local uuid, way = ARGV[b + 1], ARGV[b + 2] .. ':' .. ARGV[b + 3]
  local priority, task = split(way, 1)
  local ready = tonumber(ARGV[b + 4]) or now
  if ready < now then ready = now end
  local seq = string.format('%014x', last - n + i)
  local key = T .. 'm:' .. uuid
  local message = 'R000000000000000' .. seq .. at .. (ready == now and at or hex(ready))
    .. ARGV[b + 7]
  local once, span = ARGV[b + 8], ARGV[b + 9]
  local by = once ~= '' and has_key(once, uuid)
  local created = not by and call('SET', key, message, 'NX')
  if by then
    out[i] = by
  elseif not created then
    local known = call('GET', T .. 's:' .. uuid)
    if known and is_past(known) then
      forget(sub(known, 17, 30) .. uuid)
      created = call('SET', key, message)
    else
      local head = call('GETRANGE', key, 0, 599)
      local token = string.find(head, '\n', 176, true)
      local own = string.find(message, '\n', 176, true)
      out[i] = sub(head, token + 1, token + 16) == sub(message, own + 1, own + 16) and 1 or 0
    end
  end
  if created then
    out[i] = 1
    if once ~= '' then keep_key(once, uuid, span, now) end
    local place = seq .. uuid .. way
    if ready > now then
      delayed[#delayed + 1] = int(ready)
      delayed[#delayed + 1] = place
    else
      append(ready_lists, task, priority, place)
    end
    if ARGV[b + 5] ~= '' or ARGV[b + 6] ~= '' then
      ending[#ending + 1] = int(deadline(message, ready))
      ending[#ending + 1] = place
    end
  end
end
each('ZADD', T .. 'd', delayed)
each('ZADD', T .. 'x', ending)
make_ready(ready_lists)
for task in pairs(ready_lists) do ring(task) end
return out
