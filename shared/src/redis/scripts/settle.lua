-- Ends attempts, each under its fence.
-- KEYS  1 routing
-- ARGV  3 1: they may have been written before, 4 how many attempts, 5.. per attempt: its head,
--       history, result (Z: the name of the signal); then, unless there are none at all, per
--       attempt: how many errands, the errands, of an applied one, and the same of one that was
--       revoked. A head, by byte: 1 fence, 15 seq, 29 uuid, 61 kind (S succeed, T retry,
--       R release, P wait for a lock without having run, Z sleep until then or until a signal, D bury,
--       O drop), 62 ended at, 74 purge at (also if it turns out to be revoked), 86 result until, 98
--       cause, 99 bytes of the result as records have them, 107 ready at (ms; of a retry)
-- RETURNS  per attempt 1 applied, 2 the job was revoked and has ended so, 0 stale: nothing written;
--          then 1 if a group has become complete
local again, n = ARGV[3] == '1', tonumber(ARGV[4])
local errand = 5 + n * 3
local keys, recs = {}, {}
for i = 1, n do keys[i] = T .. 's:' .. sub(ARGV[2 + i * 3], 29, 60) end
for from = 1, n, 2000 do
  local some = call('MGET', unpack(keys, from, math.min(from + 1999, n)))
  for i = 1, #some do recs[from + i - 1] = some[i] end
end
local out, gone, changed, seen = {}, {}, {}, {}
-- Mostly there is none of all this: one look tells.
local is_special = call('EXISTS', T .. 'cap', T .. 'logs', T .. 'w') > 0
local has_caps, freed = is_special and call('EXISTS', T .. 'cap') == 1, {}
if not is_special then has_logs = false end

-- A job runs no more: whoever waits for its place is woken, unless it keeps the one at its gate.
local function gone_from(uuid, rec, keeps) -- seldom
  local _, task, gate = split(lane(rec), 1)
  if gate and not keeps then
    local name = string.match(gate, '^%d+(.*)$')
    call('SREM', T .. 'run:' .. name, uuid)
    wake(name)
  end
  if has_caps then
    call('SREM', T .. 'run:^' .. task, uuid)
    freed[task] = true
  end
end

-- Says that a job sleeps for a signal; whether one waits that nobody has taken.
local function sleeps(uuid, fence, name)
  call('SET', T .. 'logs', 1)
  call('HSET', T .. 'log:' .. uuid, '~', fence .. name)
  local all = call('HGETALL', T .. 'sig:' .. uuid)
  for i = 1, #all, 2 do
    local is_of = sub(all[i], 1, #name + 1) == name .. '\n'
    if is_of and sub(all[i + 1], 19, 22) == '0000' then return true end
  end
  return false
end

-- A job that has not ended: it waits again.
local lists, delayed, ending = {}, {}, {}
local function goes_on(line, rec, head, history, signal) -- seldom
  local fence, uuid, kind = sub(head, 1, 14), sub(head, 29, 60), sub(head, 61, 61)
  local ready = kind ~= 'R' and tonumber(sub(head, 107)) or now
  if kind == 'Z' and signal ~= '' and sleeps(uuid, fence, signal) then ready = now end
  if ready < now then ready = now end
  -- Who waits for a lock has been ready since he was.
  local since = kind == 'P' and num(sub(rec, 43, 54)) or ready
  local new = waiting(rec, fence, since, sub(rec, 67, 78), history)
  call('SET', T .. 's:' .. uuid, new)
  local way = lane(rec)
  local place = line .. way
  local priority, task = split(way, 1)
  if ready > now then
    delayed[#delayed + 1] = int(ready)
    delayed[#delayed + 1] = place
  else
    append(lists, task, priority, place)
  end
  local by = deadline(new, since)
  if by then
    ending[#ending + 1] = int(by)
    ending[#ending + 1] = place
  end
end

local fading, ended = {}, {S = {}, D = {}, O = {}}
-- When jobs are forgotten: mostly many at the same time.
local last_kept, score, last_life
for i = 1, n do
  local b = 2 + i * 3
  local did = 0
  local head, history = ARGV[b], ARGV[b + 1]
  local line, uuid, kind = sub(head, 15, 60), sub(head, 29, 60), sub(head, 61, 61)
  local rec = recs[i]
  local is_its = rec and not seen[uuid] and sub(rec, 3, 30) == sub(head, 1, 28)
  local state = is_its and sub(rec, 1, 2)
  if state ~= 'L0' and state ~= 'L1' then
    out[i] = 0
    -- Under its fence nobody else can have ended it.
    if again and is_its then
      out[i] = sub(rec, 1, 1) == 'O' and sub(rec, 167, 167) == 'f' and 2 or 1
    end
  else
    seen[uuid] = true
    gone[#gone + 1] = line
    changed[#changed + 1] = uuid
    local is_revoked = state == 'L1'
    -- A gate begins with it; so may a text behind the lane, which only takes a look more.
    if has_caps or string.find(rec, '|', 176, true) then
      gone_from(uuid, rec, kind == 'P' and not is_revoked)
    end
    did = is_revoked and 2 or 1
    out[i] = did
    if is_revoked or kind == 'S' or kind == 'D' or kind == 'O' then
      local times, cause, bytes = sub(head, 62, 97), sub(head, 98, 98), sub(head, 99, 106)
      if is_revoked then
        kind, times, cause, bytes = 'O', sub(times, 1, 24) .. NONE, 'f', NOTHING
        call('SREM', T .. 'v:' .. sub(rec, 135, 166), line .. sub(head, 1, 14))
      end
      local kept, till = sub(times, 13, 24), sub(times, 25)
      local result = bytes ~= NOTHING and bytes ~= ELSEWHERE and ARGV[b + 2] or ''
      if kept ~= last_kept then
        last_kept, last_life = kept, life_until(kept)
        score = kept == NONE and '+inf' or int(num(kept))
      end
      local life = last_life
      keep(uuid, finish(rec, kind, times, cause, history, result, bytes), life)
      local list = ended[kind]
      list[#list + 1] = score
      list[#list + 1] = line
      if bytes ~= NOTHING and till ~= NONE then
        fading[#fading + 1] = int(num(till))
        fading[#fading + 1] = line
        life = life_until(till)
      end
      if bytes == ELSEWHERE and life then
        call('SET', T .. 'o:' .. uuid, ARGV[b + 2], 'PX', life)
      elseif bytes == ELSEWHERE then
        call('SET', T .. 'o:' .. uuid, ARGV[b + 2])
      end
    else
      goes_on(line, rec, head, history, ARGV[b + 2])
    end
  end
  if ARGV[errand] then
    errand = errands(errand + 1, tonumber(ARGV[errand]), did ~= 1)
    errand = errands(errand + 1, tonumber(ARGV[errand]), did ~= 2)
  end
end
each('ZREM', T .. 'l', gone)
each('ZADD', T .. 'd', delayed)
each('ZADD', T .. 'x', ending)
each('ZADD', T .. 'u', fading)
for state, list in pairs(ended) do
  if #list > 0 then
    local key = T .. 'e:' .. state
    each('ZADD', key, list)
    -- What the server has forgotten by itself leaves the index as fast as others come: one call in
    -- eight, whichever comes then, looks for eight times as many.
    if ARGV[2] == '' and now % 8 == 0 then
      local old = call('ZRANGEBYSCORE', key, '-inf', int(now - 120000), 'LIMIT', '0', int(8 * #list))
      each('ZREM', key, old)
    end
  end
end
if has_caps or next(lists) then -- seldom
  make_ready(lists)
  if has_caps and call('HEXISTS', T .. 'cap', 'q') == 1 then
    for _, task in ipairs(call('SMEMBERS', T .. 't')) do freed[task] = true end
  end
  for task in pairs(freed) do
    if call('EXISTS', T .. 'r:' .. task) == 1 then ring(task) end
  end
end
if ARGV[5 + n * 3] then -- seldom
  line_up_born()
end
if is_special then -- seldom
  tell(changed)
end
out[n + 1] = has_completed
return out
