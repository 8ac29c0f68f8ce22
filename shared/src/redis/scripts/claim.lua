-- Leases ready jobs, first those of the lowest priority number, then the oldest.
-- KEYS  1 routing
-- ARGV  3 room, 4 lease (ms), 5 owner, 6 the asking process, 7 its number for this claim,
--       8 1: a claim with this number was made and its answer lost; it is told again if it was
--       done, and done no more if it was not, 9.. tasks the owner knows
-- RETURNS  {uuid, record, message if it is long, ...}, ms to the next delayed job (-1: none), 1 if more are ready,
--          lines and fences of the owner's leases that were revoked
local room, lease, owner = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

-- What the process was given last: its number, the number up to which nothing is given any more
-- unless it was the last, then lines and fences.
local memory, number, again = T .. 'c:' .. ARGV[6], tonumber(ARGV[7]), ARGV[8] == '1'
local barrier, kept = 0, int(math.min(math.max(lease, 60000), 3600000))

local function give_again(known, start) -- seldom
  local till = int(boot + lease)
  for from = start, #known, 60 do
    local uuid = sub(known, from + 14, from + 45)
    local rec = call('GET', T .. 's:' .. uuid)
    local held = rec and sub(rec, 1, 1) == 'L' and sub(rec, 3, 16) == sub(known, from + 46, from + 59)
    local message = held and sub(rec, 17, 30) == sub(known, from, from + 13) and long_message(uuid, rec)
    if message then
      call('ZADD', T .. 'l', till, sub(known, from, from + 45))
      given[#given + 1] = uuid
      given[#given + 1] = rec
      given[#given + 1] = message
    end
  end
end
if room > 0 or again then
  local known = call('GET', memory)
  local last, bar, start
  if known then last, bar, start = string.match(known, '^(%d+) (%d+) ()') end
  barrier = tonumber(bar or 0)
  if tonumber(last) == number then
    give_again(known, start)
    return {given, 0, 1, {}}
  end
  if again then
    call('SET', memory, (last or '0') .. ' ' .. int(number) .. ' ' .. (known and sub(known, start) or ''),
      'PX', kept)
    return {given, 0, 1, {}}
  end
  if number <= barrier then return {given, 0, 1, {}} end
end

-- Mostly there is none of all this: one look tells.
local is_special = call('EXISTS', T .. 'gate', T .. 'cap', T .. 'd', T .. 'x', T .. 'v:' .. owner) > 0

-- A paused queue gives nothing.
if is_special and call('GET', T .. 'gate') == '1' then
  return {given, -1, 0, call('SMEMBERS', T .. 'v:' .. owner)}
end

-- At most this many delayed jobs become ready in one call, so that none of them is long.
local head = is_special and call('ZRANGE', T .. 'd', '0', '0', 'WITHSCORES') or {}
if head[1] and tonumber(head[2]) <= now then -- seldom
  local due = call('ZRANGEBYSCORE', T .. 'd', '-inf', int(now), 'LIMIT', '0', '128')
  call('ZREM', T .. 'd', unpack(due))
  local lists = {}
  for _, place in ipairs(due) do
    local priority, task = split(place)
    append(lists, task, priority, place)
  end
  make_ready(lists)
  head = call('ZRANGE', T .. 'd', '0', '0', 'WITHSCORES')
end

local wanted = {}
if #ARGV <= 10 then
  for i = 9, #ARGV do wanted[#wanted + 1] = ARGV[i] end
else
  local known = {}
  for i = 9, #ARGV do known[ARGV[i]] = true end
  for _, task in ipairs(call('SMEMBERS', T .. 't')) do
    if known[task] then wanted[#wanted + 1] = task end
  end
end

-- Work on jobs whose time is over is bounded too.
local budget = 4 * room + 64
local has_deadlines = is_special and call('EXISTS', T .. 'x') == 1

local function drained(task) -- seldom
  call('SREM', T .. 't', task)
  call('DEL', T .. 'b:' .. task)
end

-- The first job of a task that is not over its time.
local function first(task)
  local key = T .. 'r:' .. task
  while true do
    local z = call('ZRANGE', key, '0', '0', 'WITHSCORES')
    if not z[1] then return nil end
    local by = has_deadlines and call('ZSCORE', T .. 'x', z[1])
    if not by or tonumber(by) > now or budget <= 0 then return z[1], tonumber(z[2]) end
    budget = budget - 1
    call('ZREM', key, z[1])
    call('ZADD', T .. 'p', by, z[1])
    if call('EXISTS', key) == 0 then drained(task) end
  end
end

local function has_first(task) -- seldom
  return first(task) and 1 or 0
end

local queue_left = math.huge
local task_left = {}
if is_special then read_caps() end
if caps then -- seldom
  if caps.q then queue_left = math.max(caps.q - call('ZCARD', T .. 'l'), 0) end
  room = math.min(room, queue_left)
  local open = {}
  for _, task in ipairs(queue_left > 0 and wanted or {}) do
    local most = caps['t:' .. task]
    if most then task_left[task] = math.max(most - call('SCARD', T .. 'run:^' .. task), 0) end
    if task_left[task] ~= 0 then open[#open + 1] = task end
  end
  wanted = open
end

local till = int(boot + lease)

-- Takes from several tasks in their order; whether there are more.
local function from_several() -- seldom
  local heads = {}
  for _, task in ipairs(wanted) do
    local place, priority = first(task)
    if place then
      heads[#heads + 1] = {task, place, priority}
    elseif call('EXISTS', T .. 'r:' .. task) == 0 then
      -- What was lined up there named no job.
      drained(task)
    end
  end
  -- Again where some were parked instead.
  while #given < 3 * room and #heads > 0 and budget > 0 do
    local list = {}
    while #list < room - #given / 3 and #heads > 0 do
      local best = 1
      for k = 2, #heads do
        local a, b = heads[k], heads[best]
        if a[3] < b[3] or (a[3] == b[3] and a[2] < b[2]) then best = k end
      end
      local one = heads[best]
      list[#list + 1] = one[2]
      call('ZREM', T .. 'r:' .. one[1], one[2])
      one[2], one[3] = first(one[1])
      local left = task_left[one[1]]
      if left then task_left[one[1]] = left - 1 end
      if not one[2] then
        drained(one[1])
        table.remove(heads, best)
      elseif left == 1 then
        table.remove(heads, best)
      end
    end
    budget = budget - #list
    take(list, owner, till, true)
  end
  for _, one in ipairs(heads) do ring(one[1]) end
  return #heads > 0 and 1 or 0
end

local more, empty, rung = 0, nil, nil
if #wanted == 1 then
  local task = wanted[1]
  local key = T .. 'r:' .. task
  room = math.min(room, task_left[task] or room)
  while #given < 3 * room and budget > 0 and not empty do
    local asked = math.min(room - #given / 3, budget, 1000)
    local z = call('ZPOPMIN', key, int(asked))
    local list = {}
    for i = 1, #z, 2 do list[#list + 1] = z[i] end
    budget = budget - #list
    if #list > 0 then take(list, owner, till, true) end
    if #list < asked then empty = task end
  end
  if has_deadlines and not empty then
    more = has_first(task)
    rung = more == 1 and task
  elseif not empty then
    -- One look tells that nothing is to be done.
    local there = call('EXISTS', key, T .. 'b:' .. task)
    more = there == 2 and 1 or call('EXISTS', key)
    rung = there == 1 and more == 1 and task
  end
  if more == 0 and #given > 0 then empty = task end
elseif #wanted > 0 then
  more = from_several()
end
if empty then -- seldom
  if call('EXISTS', T .. 'r:' .. empty) == 0 then drained(empty) end
end
if rung then -- seldom
  ring(rung)
end
each('ZADD', T .. 'l', leases)
if caps then -- seldom
  -- What is above a limit waits for the end of another; what is not, because others were parked
  -- instead, is looked for again.
  if caps.q and call('ZCARD', T .. 'l') >= caps.q then
    more = 0
  else
    for _, task in ipairs(wanted) do
      local most = caps['t:' .. task]
      if most and call('EXISTS', T .. 'r:' .. task) == 1 then
        if call('SCARD', T .. 'run:^' .. task) < most then
          more = 1
          ring(task)
        elseif #wanted == 1 then
          more = 0
        end
      end
    end
  end
end
if #leases > 0 then
  local lines = {}
  for i = 2, #leases, 2 do
    lines[i / 2] = leases[i] .. sub(given[i / 2 * 3 - 1], 3, 16)
  end
  call('SET', memory, int(number) .. ' ' .. int(barrier) .. ' ' .. table.concat(lines), 'PX', kept)
end
local next_due = -1
if head[1] then
  next_due = tonumber(head[2]) - now
  if next_due <= 0 then next_due = 0; more = 1 end
end
local revoked = (is_special or is_any_revoked) and call('SMEMBERS', T .. 'v:' .. owner) or {}
return {given, next_due, more, revoked}
