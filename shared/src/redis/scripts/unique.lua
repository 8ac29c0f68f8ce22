-- Keys of which one job is enough. Used by submit, schedule_fire, receive and prune. `T once:key` is the job's uuid and
-- when its time is over (ms), or `e` for the end of the job.
local function is_unfinished(uuid)
  local rec = call('GET', T .. 's:' .. uuid)
  return rec and string.find('RLrw', sub(rec, 1, 1), 1, true)
end

-- A key is given as for how long and, behind a space, the key itself.
local function split_key(once)
  return string.match(once, '^(%w+) (.*)$')
end

-- The job that has a key, if it is another than `uuid`.
local function has_key(once, uuid) -- seldom
  local _, key = split_key(once)
  local kept = call('GET', T .. 'once:' .. key)
  if not kept then return false end
  local by, till = sub(kept, 1, 32), sub(kept, 33)
  if by == uuid then return false end
  if till == 'e' then return is_unfinished(by) and by end
  return tonumber(till) > now and by
end

local function keep_key(once, uuid, since) -- seldom
  local span, key = split_key(once)
  local name = T .. 'once:' .. key
  if span == 'e' then
    call('SET', name, uuid .. 'e')
    call('ZADD', T .. 'onces', int(now + 3600000), key)
    return
  end
  local till = since + tonumber(span)
  if till > now then
    call('SET', name, uuid .. int(till), 'PX', int(till - now + 60000))
    call('ZREM', T .. 'onces', key)
  end
end

-- Forgets keys whose jobs have ended.
local function forget_keys(most)
  local forgotten = 0
  for _, key in ipairs(call('ZRANGEBYSCORE', T .. 'onces', '-inf', now, 'LIMIT', 0, most)) do
    local kept = call('GET', T .. 'once:' .. key)
    if kept and sub(kept, 33) == 'e' and is_unfinished(sub(kept, 1, 32)) then
      call('ZADD', T .. 'onces', int(now + 3600000), key)
    else
      if kept and sub(kept, 33) == 'e' then
        call('DEL', T .. 'once:' .. key)
        forgotten = forgotten + 1
      end
      call('ZREM', T .. 'onces', key)
    end
  end
  return forgotten
end
