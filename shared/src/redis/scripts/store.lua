-- Stores new jobs. Used by submit and errands.
local born_lists, born_delayed, born_ending = {}, {}, {}
local ways, born_at = {}, nil

-- What a uuid comes to that is known: whether it is free by now (its job has ended and is to be
-- forgotten, or has lost its message), else whether that job is the same message (`own`), sent again.
local function meets(uuid, own) -- seldom
  local known = call('GET', T .. 's:' .. uuid)
  local line, message = sub(known, 17, 30) .. uuid, message_of(uuid, known)
  local is_lost = not message and sub(known, 1, 1) == 'R'
  if is_lost then unwait(line .. lane(known)) end
  if is_lost or is_past(known) then
    forget(line)
    return true
  end
  return false, sub(message or '', 1, 16) == sub(own, 1, 16)
end

-- Stores a job under its number. `ready` is a time (nil: now), `rest` what its record has from byte
-- 55 on, `message` its message if that is long. False if its uuid is known, and then whether with the
-- same token.
local function store(number, uuid, ready, rest, message)
  local is_ready = not ready or ready <= now
  born_at = born_at or hex(now)
  local seq = string.format('%014x', number)
  local key = T .. 's:' .. uuid
  local rec = 'R000000000000000' .. seq .. born_at .. (is_ready and born_at or hex(ready)) .. rest
  if not call('SET', key, rec, 'NX') then
    local own = message
    if own == '' then own = sub(rec, -16 - num(sub(rec, -16, -9)), -17) end
    local is_free, is_own = meets(uuid, own)
    if not is_free then return false, is_own end
    call('SET', key, rec)
  end
  if message ~= '' then call('SET', T .. 'm:' .. uuid, message) end
  local way = sub(rec, 176, string.find(rec, '\n', 176, true) - 1)
  local place = seq .. uuid .. way
  if is_ready then
    -- Most of a batch go the same way.
    local known = ways[way]
    if not known then
      known = {split(way, 1)}
      ways[way] = known
    end
    append(born_lists, known[2], known[1], place)
  else
    born_delayed[#born_delayed + 1] = int(ready)
    born_delayed[#born_delayed + 1] = place
  end
  local by = sub(rec, 55, 78) ~= FOREVER and deadline(rec, is_ready and now or ready)
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
end
