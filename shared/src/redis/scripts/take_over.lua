-- Leases overdue jobs to the caller, under new fences.
-- KEYS  1 routing
-- ARGV  3 what: l (leases that have ended), x (jobs that wait too long), k (ready jobs of tasks
--       that no live supervisor knows), 4 at most, 5 lease (ms), 6 owner, 7 of k: for how long
-- RETURNS  {uuid, record, message if it is long, ...}
local what, limit, lease, owner = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
limit = math.min(limit, 1000)

-- The tasks of `T a`, field `id`: "expiry\n" and "task\n" for each.
local function known(text)
  local stop = string.find(text, '\n', 1, true)
  return tonumber(sub(text, 1, stop - 1)) > boot and sub(text, stop)
end

-- Tasks with ready jobs that nobody has known for long enough.
local function strange(after)
  local tasks = call('SMEMBERS', T .. 't')
  local marks = call('EXISTS', T .. 'z') == 1
  if #tasks == 0 then
    if marks then call('DEL', T .. 'z') end
    return {}
  end
  local mine = call('HGET', T .. 'a', owner)
  mine = mine and known(mine)
  local others
  local found, ready = {}, {}
  for _, task in ipairs(tasks) do
    ready[task] = true
    local word = '\n' .. task .. '\n'
    local is_known = mine and string.find(mine, word, 1, true)
    if not is_known then
      if not others then
        others = {}
        local all = call('HGETALL', T .. 'a')
        for i = 1, #all, 2 do
          local text = known(all[i + 1])
          if text then others[#others + 1] = text else call('HDEL', T .. 'a', all[i]) end
        end
      end
      for _, text in ipairs(others) do
        if string.find(text, word, 1, true) then is_known = true; break end
      end
    end
    if is_known then
      if marks then call('HDEL', T .. 'z', task) end
    else
      local since = tonumber(call('HGET', T .. 'z', task) or nil)
      if not since then
        since = boot
        call('HSET', T .. 'z', task, string.format('%.0f', boot))
      end
      if boot - since >= after then found[#found + 1] = task end
    end
  end
  if marks then
    for _, task in ipairs(call('HKEYS', T .. 'z')) do
      if not ready[task] then call('HDEL', T .. 'z', task) end
    end
  end
  return found
end

local list = {}
if what == 'l' then
  list = call('ZRANGEBYSCORE', T .. 'l', '-inf', boot, 'LIMIT', 0, limit)
elseif what == 'x' then
  list = call('ZRANGEBYSCORE', T .. 'x', '-inf', now, 'LIMIT', 0, limit)
else
  for _, task in ipairs(strange(tonumber(ARGV[7]))) do
    for _, place in ipairs(call('ZRANGE', T .. 'r:' .. task, 0, limit - #list - 1)) do
      list[#list + 1] = place
    end
    if #list >= limit then break end
  end
end
if what ~= 'l' then
  for _, place in ipairs(list) do unwait(place) end
end
take(list, owner, int(boot + lease), false)
each('ZADD', T .. 'l', leases)
return given
