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

local function header_of(message) return sub(message, 25, 24 + num(sub(message, 17, 24))) end

-- The place in a group of a job or of a group, by its header or record. Only this part of them is
-- decoded: others hold JSON of strangers, that may be more than cjson takes (lone surrogates, deep nesting).
local function member_of(about) -- seldom
  local at, depth = 1, 0
  if not string.find(about, '"member"', 1, true) then return end
  while true do
    at = string.find(about, '["%[%]{}]', at)
    if not at then return end
    local kind = sub(about, at, at)
    if kind == '"' then
      local from = at + 1
      at = string.find(about, '["\\]', from)
      while at and sub(about, at, at) == '\\' do at = string.find(about, '["\\]', at + 2) end
      if not at then return end
      local value = depth == 1 and sub(about, from, at - 1) == 'member'
        and string.match(about, '^%s*:%s*(%b{})', at + 1)
      if value then
        local is_json, member = pcall(cjson.decode, value)
        local is_whole = is_json and type(member.group) == 'string' and type(member.home) == 'string'
          and type(member.index) == 'number'
        return is_whole and member or nil
      end
    elseif kind == '{' or kind == '[' then
      depth = depth + 1
    else
      depth = depth - 1
    end
    at = at + 1
  end
end

-- A step finds its uuid taken, and never runs: the group whose member it is counts it as failed, unless
-- what is known is the same member. `about` and `known` are headers of jobs or records of groups.
local function taken(uuid, about, known) -- seldom
  if about == known then return end
  local member = member_of(about)
  if not member then return end
  local other = member_of(known)
  if other and other.group == member.group and other.index == member.index then return end
  local parts = {sub(uuid, 1, 8), sub(uuid, 9, 12), sub(uuid, 13, 16), sub(uuid, 17, 20), sub(uuid, 21)}
  local body = '{"uuid":"' .. table.concat(parts, '-') .. '","cause":"error","name":"known","text":'
    .. '"the store knows this uuid already (leave it out, or give each submission its own)"}'
  local group, place = string.gsub(member.group, '-', ''), string.format('%08x', member.index)
  if member.home == string.match(T, '|(.*)}$') then return count(group, place, '1', uuid, body, 16777216) end
  local words = {member.home, '1', 'C', group, place, '1', uuid, body, '16777216'}
  for i, word in ipairs(words) do words[i] = struct.pack('<I4', #word) .. word end
  -- Not by the uuid, that several members may find taken.
  local id = group .. place .. '.known'
  call('HSET', T .. 'f', id, table.concat(words))
  call('ZADD', T .. 'y', int(now), id)
end

-- Does `n` errands from ARGV[i] on, or passes over them; returns what comes after them.
local function errands(i, n, skip) -- seldom
  for _ = 1, n do
    local kind = ARGV[i]
    if kind == 'S' then
      if not skip then
        local uuid, ready = sub(ARGV[i + 1], 1, 32), tonumber(sub(ARGV[i + 1], 33))
        local rest, message = ARGV[i + 2], ARGV[i + 3]
        if not store(number_jobs(1), uuid, ready, rest, message) then
          if message == '' then message = sub(rest, -16 - num(sub(rest, -16, -9)), -17) end
          local known = message_of(uuid, call('GET', T .. 's:' .. uuid))
          taken(uuid, header_of(message), known and header_of(known) or '')
        end
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
      elseif not skip then
        taken(group, ARGV[i + 2], call('HGET', key, 'r'))
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
