-- Leases jobs to ARGV's `owner` until `till`. Used by claim and take_over.
local given, leases = {}, {}

-- What limits there are: fields of `T cap`; and whether a job was given that had been revoked.
local caps, is_any_revoked
local function read_caps()
  local all = call('HGETALL', T .. 'cap')
  for i = 1, #all, 2 do
    caps = caps or {}
    caps[all[i]] = tonumber(all[i + 1])
  end
end

-- Whether a job's gate is open to it; then it counts as running, else it is parked there.
local function passes(place, uuid)
  if not caps and not string.find(place, '|', 47, true) then return true end
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

-- Takes places or lines; fills `given` with uuid, record, message by turns. With `skip`, one whose
-- time is over is passed over, and one whose gate is shut is parked, instead.
local function take(list, owner, till, skip)
  local keys, messages, records = {}, T .. 'm:', T .. 's:'
  for i = 1, #list do
    local uuid = sub(list[i], 15, 46)
    keys[2 * i - 1] = messages .. uuid
    keys[2 * i] = records .. uuid
  end
  for from = 1, #keys, 2000 do
    local values = call('MGET', unpack(keys, from, math.min(from + 1999, #keys)))
    for k = 1, #values, 2 do
      local place = list[(from + k) / 2]
      local message = values[k]
      -- A place whose message is gone is nobody's; it has been taken out already.
      if message then
        local uuid = sub(place, 15, 46)
        local rec = values[k + 1] or pristine(message)
        local by = deadline(rec)
        if skip and by and by <= now then
          call('ZADD', T .. 'p', by, place)
        elseif not skip or passes(place, uuid) then
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
          call('SET', keys[from + k], leased)
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
end

local function write_leases()
  each('ZADD', T .. 'l', leases)
end
