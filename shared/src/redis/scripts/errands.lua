-- Does what comes with an ending. Used by settle, revoke, remove, close and deliver.
-- An errand in ARGV is its kind and what it needs:
--   S uuid and ready at (ms; nothing: now), the record from byte 55 on, its message if that is long: a
--     job for this queue
--   C group, place (8 digits), 1 if it failed, member's uuid, body, most bytes that are kept
--   G group, record, how many members, how many errands come next that start them: opens a group
--   O id, errands for another queue as they are delivered: kept until somebody has done so
-- A group is the hash `T j:group`: r record, n members, e ended, f failed, b bytes, o opened,
-- c closed, and per place `p` .. place: 1 if it failed .. member's uuid. Bodies are in `T k:group`.
local has_completed, opened = 0, 0

local function count(group, place, is_failed, member, body, most) -- seldom
  local key = T .. 'j:' .. group
  local known = call('HMGET', key, 'n', 'c')
  if not known[1] or known[2] then return end
  if call('HSETNX', key, 'p' .. place, is_failed .. member) == 0 then return end
  if is_failed == '1' then call('HINCRBY', key, 'f', 1) end
  if call('HINCRBY', key, 'b', #body) <= tonumber(most) then
    call('HSET', T .. 'k:' .. group, place, body)
  end
  if call('HINCRBY', key, 'e', 1) == tonumber(known[1]) then
    call('ZADD', T .. 'q', int(now), group)
    has_completed = 1
  end
end

-- Does `n` errands from ARGV[i] on, or passes over them; returns what comes after them.
local function errands(i, n, skip) -- seldom
  for _ = 1, n do
    local kind = ARGV[i]
    if kind == 'S' then
      if not skip then
        local uuid, ready = sub(ARGV[i + 1], 1, 32), tonumber(sub(ARGV[i + 1], 33))
        store(number_jobs(1), uuid, ready, ARGV[i + 2], ARGV[i + 3])
      end
      i = i + 4
    elseif kind == 'C' then
      if not skip then
        count(ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6])
      end
      i = i + 7
    elseif kind == 'G' then
      local group, key = ARGV[i + 1], T .. 'j:' .. ARGV[i + 1]
      local is_known = skip or call('HSETNX', key, 'r', ARGV[i + 2]) == 0
      if not is_known then
        call('HSET', key, 'n', ARGV[i + 3], 'o', int(now))
        call('ZADD', T .. 'n', int(now), group)
        opened = opened + 1
      end
      i = errands(i + 5, tonumber(ARGV[i + 4]), is_known)
    else
      if not skip then
        call('HSET', T .. 'f', ARGV[i + 1], ARGV[i + 2])
        call('ZADD', T .. 'y', int(now), ARGV[i + 1])
      end
      i = i + 3
    end
  end
  return i
end
