-- Leases jobs to ARGV's `owner` until `till`. Used by claim and take_over, which write `leases`.
local given, leases = {}, {}

-- What limits there are: fields of `T cap`; and whether a job was given that had been revoked.
local caps, is_any_revoked
local function read_caps() -- seldom
  local all = call('HGETALL', T .. 'cap')
  for i = 1, #all, 2 do
    caps = caps or {}
    caps[all[i]] = tonumber(all[i + 1])
  end
end

-- Whether a job's gate is open to it; then it counts as running, else it is parked there.
local function passes(place, uuid) -- seldom
  local priority, task, gate = split(place)
  if gate then
    local most, name = string.match(gate, '^(%d+)(.*)$')
    -- One that waits for a lock has its place already.
    local has_place = call('SISMEMBER', T .. 'run:' .. name, uuid) == 1
    if not has_place and call('SCARD', T .. 'run:' .. name) >= tonumber(most) then
      call('ZADD', T .. 'park:' .. name, priority, place)
      call('ZADD', T .. 'parked', 0, place)
      return false
    end
    call('SADD', T .. 'run:' .. name, uuid)
  end
  if caps and caps['t:' .. task] then call('SADD', T .. 'run:^' .. task, uuid) end
  return true
end

-- A job without its message can do nothing any more.
local function lose(place) -- seldom
  forget(sub(place, 1, 46))
  call('ZREM', T .. 'x', place)
end

-- Takes places or lines; fills `given` with uuid, record and, if it is long, message by turns. With
-- `skip`, one whose time is over is passed over, and one whose gate is shut is parked, instead.
local function take(list, owner, till, skip)
  local keys, taken = {}, {}
  for i = 1, #list do keys[i] = T .. 's:' .. sub(list[i], 15, 46) end
  for from = 1, #keys, 2000 do
    local values = call('MGET', unpack(keys, from, math.min(from + 1999, #keys)))
    for k = 1, #values do
      local place, rec = list[from + k - 1], values[k]
      local uuid = sub(place, 15, 46)
      -- A place whose job is gone is nobody's; it has been taken out already. There may be a later job
      -- with the same uuid.
      local is_its = rec and sub(rec, 17, 30) == sub(place, 1, 14)
      -- Nobody is given what another one holds, whatever names it.
      if skip and is_its and sub(rec, 1, 1) ~= 'R' then is_its = false end
      local message = is_its and long_message(uuid, rec)
      if is_its and not message then lose(place) end
      if message then
        local by = deadline(rec)
        if skip and by and by <= now then
          call('ZADD', T .. 'p', by, place)
        elseif not skip or not (caps or string.find(place, '|', 47, true)) or passes(place, uuid) then
          if by and skip then call('ZREM', T .. 'x', place) end
          local is_revoked, fence = sub(rec, 2, 2), sub(rec, 3, 16)
          fence = fence == '00000000000000' and '00000000000001'
            or string.format('%014x', num(fence) + 1)
          local tail
          local progress = sub(rec, 168, 175)
          if progress == '00000000' then
            tail = sub(rec, 168)
          else
            local stop = string.find(rec, '\n', 176, true)
            tail = '00000000' .. sub(rec, 176, stop) .. sub(rec, stop + 1 + num(progress))
          end
          local leased = 'L' .. is_revoked .. fence .. sub(rec, 17, 78) .. '--------------------'
            .. sub(rec, 99, 134) .. owner .. sub(rec, 167, 167) .. tail
          taken[#taken + 1] = keys[from + k - 1]
          taken[#taken + 1] = leased
          local line = sub(place, 1, 46)
          leases[#leases + 1] = till
          leases[#leases + 1] = line
          given[#given + 1] = uuid
          given[#given + 1] = leased
          given[#given + 1] = message
          if is_revoked == '1' then
            is_any_revoked = true
            call('SREM', T .. 'v:' .. sub(rec, 135, 166), line .. sub(rec, 3, 16))
            call('SADD', T .. 'v:' .. owner, line .. fence)
          end
        end
      end
    end
  end
  for from = 1, #taken, 2000 do
    call('MSET', unpack(taken, from, math.min(from + 1999, #taken)))
  end
end
