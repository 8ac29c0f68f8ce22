-- Stores new jobs. Used by submit and errands.
local born_lists, born_delayed, born_ending = {}, {}, {}

-- The last of `n` new numbers.
local function number_jobs(n)
  local last = call('INCRBY', T .. 'seq', n)
  if last == n then
    -- From the clock: a number that was given out is not given out again, whatever was lost.
    last = math.floor(now / 1000) * 1048576 + n
    call('SET', T .. 'seq', string.format('%.0f', last))
  end
  return last
end

-- Stores a job under its number. `ready` is a time (nil: now), `rest` what its record has from byte
-- 55 on, and its message. False if its uuid is known, and then whether with the same token.
local function store(number, uuid, ready, rest)
  if not ready or ready < now then ready = now end
  local seq = string.format('%014x', number)
  local key = T .. 'm:' .. uuid
  local message = 'R000000000000000' .. seq .. hex(now) .. hex(ready) .. rest
  local created = call('SET', key, message, 'NX')
  if not created then
    local known = call('GET', T .. 's:' .. uuid)
    if known and is_past(known) then
      forget(sub(known, 17, 30) .. uuid)
      created = call('SET', key, message)
    else
      local head = call('GETRANGE', key, 0, 599)
      local token = string.find(head, '\n', 176, true)
      local own = string.find(message, '\n', 176, true)
      return false, sub(head, token + 1, token + 16) == sub(message, own + 1, own + 16)
    end
  end
  local way = lane(message)
  local priority, task = split(way, 1)
  local place = seq .. uuid .. way
  if ready > now then
    born_delayed[#born_delayed + 1] = int(ready)
    born_delayed[#born_delayed + 1] = place
  else
    append(born_lists, task, priority, place)
  end
  local by = deadline(message, ready)
  if by then
    born_ending[#born_ending + 1] = int(by)
    born_ending[#born_ending + 1] = place
  end
  return true
end

local function line_up_born()
  each('ZADD', T .. 'd', born_delayed)
  each('ZADD', T .. 'x', born_ending)
  make_ready(born_lists)
  for task in pairs(born_lists) do ring(task) end
end
