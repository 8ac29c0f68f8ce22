-- Ends attempts, each under its fence.
-- KEYS  1 routing
-- ARGV  3 1: they may have been written before, 4 how many attempts, 5.. per attempt: uuid, seq,
--       fence, kind (S succeed with a result, s without, T retry, R release, P wait for a lock
--       without having run, Z sleep until then or until a signal, D bury, O drop),
--       ended at, result until, purge at (also if it turns out to be revoked), ready at (ms; of a
--       retry), cause, history, result (Z: the name of the signal); then, unless there are none at all, per attempt: how many
--       errands, the errands, of an applied one, and the same of one that was revoked
-- RETURNS  per attempt 1 applied, 2 the job was revoked and has ended so, 0 stale: nothing written;
--          then 1 if a group has become complete
local again, n = ARGV[3] == '1', tonumber(ARGV[4])
local errand = 5 + n * 11
local keys, recs = {}, {}
for i = 1, n do keys[i] = T .. 's:' .. ARGV[5 + (i - 1) * 11] end
for from = 1, n, 2000 do
  local some = call('MGET', unpack(keys, from, math.min(from + 1999, n)))
  for i = 1, #some do recs[from + i - 1] = some[i] end
end
local out, gone, changed, seen = {}, {}, {}, {}
local has_caps, freed = call('EXISTS', T .. 'cap') == 1, {}

-- A job runs no more: whoever waits for its place is woken, unless it keeps the one at its gate.
local function gone_from(uuid, rec, keeps)
  local way = lane(rec)
  if not has_caps and not string.find(way, '|', 1, true) then return end
  local _, task, gate = split(way, 1)
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

local lists, delayed, ending, ended = {}, {}, {}, {S = {}, D = {}, O = {}}
for i = 1, n do
  local b = 4 + (i - 1) * 11
  local did = 0
  local uuid, seq, fence, kind = ARGV[b + 1], ARGV[b + 2], ARGV[b + 3], ARGV[b + 4]
  local rec = recs[i]
  if seen[uuid] or not rec or sub(rec, 1, 1) ~= 'L' or sub(rec, 3, 30) ~= fence .. seq then
    out[i] = 0
    -- Under its fence nobody else can have ended it.
    if again and rec and not seen[uuid] and sub(rec, 3, 30) == fence .. seq then
      out[i] = sub(rec, 1, 1) == 'O' and sub(rec, 167, 167) == 'f' and 2 or 1
    end
  else
    seen[uuid] = true
    local line = seq .. uuid
    gone[#gone + 1] = line
    changed[#changed + 1] = uuid
    gone_from(uuid, rec, kind == 'P' and sub(rec, 2, 2) ~= '1')
    local history = ARGV[b + 10]
    local is_revoked = sub(rec, 2, 2) == '1'
    out[i] = is_revoked and 2 or 1
    did = out[i]
    if is_revoked or not string.find('TRPZ', kind, 1, true) then
      local state, till, cause = string.upper(kind), ARGV[b + 6], ARGV[b + 9]
      if is_revoked then
        state, till, cause = 'O', NONE, 'f'
        call('SREM', T .. 'v:' .. sub(rec, 135, 166), line .. fence)
      end
      local kept = ARGV[b + 7]
      local new, life = finish(rec, state, ARGV[b + 5], kept, till, cause, history)
      keep(uuid, new, life)
      local list = ended[state]
      list[#list + 1] = kept == NONE and '+inf' or int(num(kept))
      list[#list + 1] = line
      if kind == 'S' and not is_revoked then
        if till ~= NONE then
          call('ZADD', T .. 'u', int(num(till)), line)
          life = int(math.max(num(till) - now, 0) + 60000)
        end
        if life then
          call('SET', T .. 'o:' .. uuid, ARGV[b + 11], 'PX', life)
        else
          call('SET', T .. 'o:' .. uuid, ARGV[b + 11])
        end
      end
    else
      local ready = kind ~= 'R' and tonumber(ARGV[b + 8]) or now
      if kind == 'Z' and ARGV[b + 11] ~= '' and sleeps(uuid, fence, ARGV[b + 11]) then ready = now end
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
  end
  if ARGV[errand] then
    errand = errands(errand + 1, tonumber(ARGV[errand]), did ~= 1)
    errand = errands(errand + 1, tonumber(ARGV[errand]), did ~= 2)
  end
end
each('ZREM', T .. 'l', gone)
each('ZADD', T .. 'd', delayed)
each('ZADD', T .. 'x', ending)
for state, list in pairs(ended) do
  if #list > 0 then
    local key = T .. 'e:' .. state
    each('ZADD', key, list)
    -- What the server has forgotten by itself leaves the index as fast as others come.
    if ARGV[2] == '' then
      local old = call('ZRANGEBYSCORE', key, '-inf', now - 120000, 'LIMIT', 0, #list)
      each('ZREM', key, old)
    end
  end
end
make_ready(lists)
if has_caps and call('HEXISTS', T .. 'cap', 'q') == 1 then
  for _, task in ipairs(call('SMEMBERS', T .. 't')) do lists[task] = true end
end
for task in pairs(freed) do
  if call('EXISTS', T .. 'r:' .. task) == 1 then lists[task] = true end
end
for task in pairs(lists) do ring(task) end
line_up_born()
tell(changed)
out[n + 1] = has_completed
return out
