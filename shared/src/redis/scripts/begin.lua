-- What every script begins with.
-- KEYS[1]: `T seq`, for the slot alone. ARGV[1]: T, "{namespace|queue}", which all keys of a queue
-- begin with. ARGV[2]: the time as "wall lease" in ms; empty for the server's own clock, "+ms" or
-- "-ms" for that with its time of day turned.
--
-- A record, by byte: 1 state (R waits, L leased, S succeeded, D dead, O dropped), 2 revoked (0/1),
-- or > if it is on its way to another store, < if it arrives from one: its state is then one of r
-- (ready), w (delayed), s, d, o, which nothing else moves;
-- 3 fence, 17 seq, 31 submitted, 43 ready, 55 ttl, 67 expires, 79 started, 91 pid, 99 finished,
-- 111 purge, 123 result until, 135 owner, 167 cause, 168 bytes of progress, 176 the lane:
-- "priority:task\n", or "priority:task|most:key\n" and "priority:task|1!lock\n" of a job that waits at a
-- gate, then progress, history, message, result, and at its end the bytes of both (8 each). Numbers are
-- hexadecimal; dashes stand for none.
-- A record lies in `T s:uuid`. A message is a token (16), bytes of the header (8), header, payload. One
-- that is long lies in `T m:uuid`, and a long result in `T o:uuid`: instead of their bytes the record
-- has ELSEWHERE, or NOTHING if there is no result.
-- What a job remembers lies in `T log:uuid`: key -> when (12 digits), number (6), body; `#` is all
-- bytes, `~` fence and name of the signal it sleeps for; `T logk:uuid` has the keys in order. Signals
-- lie in `T sig:uuid`: name \n key -> when (12), number (6), length of (4) and the entry that took
-- it, payload. `T logs` says that there is any of these.
-- A line is seq .. uuid; a place is seq .. uuid .. lane: what waits is named by these.
local T, call, sub = ARGV[1], redis.call, string.sub
local NONE, NOBODY = '------------', '--------------------------------'
local ELSEWHERE, NOTHING, FOREVER = '--------', '........', '------------------------'
local now, boot
if ARGV[2] == '' or string.find(ARGV[2], '^[+-]') then
  local t = call('TIME')
  boot = t[1] * 1000 + math.floor(t[2] / 1000)
  now = boot + (tonumber(ARGV[2]) or 0)
else
  local wall, lease = string.match(ARGV[2], '^(%d+) (%d+)$')
  now, boot = tonumber(wall), tonumber(lease)
end

local function hex(n) return string.format('%012x', n) end
-- As an argument: the server writes other numbers as fractions, which takes its time.
local function int(n) return string.format('%d', n) end
local function num(text) return tonumber(text, 16) end

-- Bytes of the message in a record, and of the result.
local function message_bytes(rec) return num(sub(rec, -16, -9)) or 0 end
local function result_bytes(rec) return num(sub(rec, -8)) or 0 end

-- The message of a job; false if there is none.
local function message_of(uuid, rec)
  if sub(rec, -16, -9) == ELSEWHERE then return call('GET', T .. 'm:' .. uuid) end
  local behind = -17 - result_bytes(rec)
  return sub(rec, behind + 1 - message_bytes(rec), behind)
end

-- The message of a job if it is long, else an empty one; false if it is gone.
local function long_message(uuid, rec)
  if sub(rec, -16, -9) ~= ELSEWHERE then return '' end
  return call('GET', T .. 'm:' .. uuid)
end

-- The result of a job; false if there is none.
local function result_of(uuid, rec)
  local bytes = sub(rec, -8)
  if bytes == NOTHING then return false end
  if bytes == ELSEWHERE then return call('GET', T .. 'o:' .. uuid) end
  return sub(rec, -16 - num(bytes), -17)
end

-- Whether the result of a job is not to be seen any more.
local function is_over(rec)
  local till, kept = sub(rec, 123, 134), sub(rec, 111, 122)
  return (till ~= NONE and num(till) <= now) or (kept ~= NONE and num(kept) <= now)
end

local function drop_result(uuid, rec)
  local short = sub(rec, 1, -17 - result_bytes(rec)) .. sub(rec, -16, -9) .. NOTHING
  call('SET', T .. 's:' .. uuid, short, 'KEEPTTL')
  if sub(rec, -8) == ELSEWHERE then call('DEL', T .. 'o:' .. uuid) end
end

local function history_of(rec)
  local stop = string.find(rec, '\n', 176, true) + num(sub(rec, 168, 175))
  return sub(rec, stop + 1, -17 - message_bytes(rec) - result_bytes(rec))
end

local function lane(rec)
  return sub(rec, 176, string.find(rec, '\n', 176, true) - 1)
end

-- The priority, the task and the gate (with how many it lets through; nil if there is none) of a
-- place, or of a lane if `from` is 1.
local function split(place, from)
  local colon = string.find(place, ':', from or 47, true)
  local bar = string.find(place, '|', colon, true)
  return sub(place, from or 47, colon - 1), sub(place, colon + 1, bar and bar - 1),
    bar and sub(place, bar + 1)
end

-- When a job that is ready at `ready` (nil: as its record says) has waited too long; nil if never.
local function deadline(rec, ready)
  local both = sub(rec, 55, 78)
  if both == FOREVER then return nil end
  ready = ready or num(sub(rec, 43, 54))
  local ttl, expires = sub(both, 1, 12), sub(both, 13)
  local by
  if ttl ~= NONE then by = math.min(ready + num(ttl), 253402300799000) end
  if expires ~= NONE then
    expires = num(expires)
    if not by or expires < by then by = expires end
  end
  return by
end

-- ZADD, ZREM, MGET and the like with as many arguments as there are.
local function each(command, key, list)
  for i = 1, #list, 2000 do
    call(command, key, unpack(list, i, math.min(i + 1999, #list)))
  end
end

local function ring(task)
  local bell = T .. 'b:' .. task
  if call('EXISTS', bell) == 0 then call('RPUSH', bell, '1') end
end

-- Makes places ready, and rings: `lists` maps a task to {priority, place, ...}.
local function make_ready(lists)
  for task, list in pairs(lists) do
    -- A task that has ready jobs is known. A bell alone says nothing: it may have been passed on by
    -- somebody after the last job was taken.
    local ready, bell = T .. 'r:' .. task, T .. 'b:' .. task
    local is_open = call('EXISTS', ready, bell) == 2
    each('ZADD', ready, list)
    if not is_open then
      call('SADD', T .. 't', task)
      if call('EXISTS', bell) == 0 then call('RPUSH', bell, '1') end
    end
  end
end

local function append(lists, task, priority, place)
  local list = lists[task]
  if not list then list = {}; lists[task] = list end
  list[#list + 1] = priority
  list[#list + 1] = place
end

-- Makes the first job that is parked at a gate ready.
local function wake(gate) -- seldom
  local z = call('ZPOPMIN', T .. 'park:' .. gate)
  if not z[1] then return end
  call('ZREM', T .. 'parked', z[1])
  local _, task = split(z[1])
  make_ready({[task] = {z[2], z[1]}})
end

-- Takes a job that waits out of all that it may wait in.
local function unwait(place) -- seldom
  local _, task, gate = split(place)
  if gate then
    local name, uuid = string.match(gate, '^%d+(.*)$'), sub(place, 15, 46)
    call('ZREM', T .. 'park:' .. name, place)
    local was_parked = call('ZREM', T .. 'parked', place) == 1
    -- A place may be left of a job that never was: the one of this uuid keeps what it has.
    local seq = call('GETRANGE', T .. 's:' .. uuid, 16, 29)
    if seq == '' or seq == sub(place, 1, 14) then
      call('SREM', T .. 'run:' .. name, uuid)
      -- It may have been woken and never have run.
      if not was_parked then wake(name) end
    end
  end
  local key = T .. 'r:' .. task
  if call('ZREM', key, place) == 1 and call('EXISTS', key) == 0 then
    call('SREM', T .. 't', task)
    call('DEL', T .. 'b:' .. task)
  end
  call('ZREM', T .. 'd', place)
  call('ZREM', T .. 'p', place)
  call('ZREM', T .. 'x', place)
end

-- Whether a job has ended and is to be forgotten.
local function is_past(rec)
  local kept = sub(rec, 111, 122)
  return kept ~= NONE and num(kept) <= now and string.find('SDO', sub(rec, 1, 1), 1, true)
end

-- Forgets an ended job, unless its uuid has been taken by a later one.
local function forget(line)
  local uuid = sub(line, 15, 46)
  if call('GETRANGE', T .. 's:' .. uuid, 16, 29) == sub(line, 1, 14) then
    call('DEL', T .. 'm:' .. uuid, T .. 's:' .. uuid, T .. 'o:' .. uuid, T .. 'log:' .. uuid,
      T .. 'logk:' .. uuid, T .. 'sig:' .. uuid)
  end
  for _, state in ipairs({'S', 'D', 'O'}) do call('ZREM', T .. 'e:' .. state, line) end
  call('ZREM', T .. 'u', line)
end

-- Tells clients that wait which jobs have changed.
local function tell(uuids) -- seldom
  if #uuids > 0 and call('EXISTS', T .. 'w') == 1 then
    call('PUBLISH', sub(T, 1, string.find(T, '|', 1, true)) .. '}jobs', table.concat(uuids))
  end
end

-- For how long what is forgotten at a time stays on the server (ms; false: for ever).
local function life_until(time)
  return time ~= NONE and int(math.max(num(time) - now, 0) + 60000)
end

-- The record of a job that ends. `times` are when it does, when it is forgotten and until when there is
-- a result; `bytes` those of the result, as records have them.
local function finish(rec, state, times, cause, history, result, bytes)
  local stop, progress = string.find(rec, '\n', 176, true), sub(rec, 168, 175)
  if progress ~= '00000000' then stop = stop + num(progress) end
  local size = sub(rec, -16, -9)
  local message = sub(rec, -16 - (num(size) or 0), -17)
  return state .. sub(rec, 2, 98) .. times .. NOBODY .. cause .. sub(rec, 168, stop) .. history
    .. message .. result .. size .. bytes
end

-- Whether jobs of this queue remember anything.
local has_logs

local function keep(uuid, rec, life)
  if life then
    call('SET', T .. 's:' .. uuid, rec, 'PX', life)
    if sub(rec, -16, -9) == ELSEWHERE then call('PEXPIRE', T .. 'm:' .. uuid, life) end
    if has_logs == nil then has_logs = call('EXISTS', T .. 'logs') == 1 end
    for _, kind in ipairs(has_logs and {'log:', 'logk:', 'sig:'} or {}) do
      call('PEXPIRE', T .. kind .. uuid, life)
    end
  else
    call('SET', T .. 's:' .. uuid, rec)
  end
end

-- A record that waits again, from `ready` on.
local function waiting(rec, fence, ready, expires, history)
  return 'R0' .. fence .. sub(rec, 17, 42) .. hex(ready) .. sub(rec, 55, 66) .. expires .. NONE
    .. '--------' .. NONE .. NONE .. NONE .. NOBODY .. '-00000000' .. lane(rec) .. '\n' .. history
    .. sub(rec, -16 - message_bytes(rec), -9) .. NOTHING
end
