-- Used by scripts about streams; T is "{namespace|~stream}", which is no queue's. `T spec`: n
-- (partitions), size, full, fence (all fences are above it). `T at`: partition -> "last ms seq gone ms
-- seq", its last event and the last that was removed. `T ev:partition`: the events, a Redis stream; the
-- first field of each is # and its position. `T by`: processor -> "members that came, 0", or 1 and why it
-- is paused. `T member:processor`: supervisor -> "which came, until when it is believed to live".
-- `T share:processor`: partition -> "fence, place passed (3), owner or -, end of the lease, where to go on
-- or -, place of the trouble (3; 0 if none), tries, rest (-, h, q), when, JSON". `T dead:partition:processor`:
-- dead letters by position.
local match = string.match
-- Both numbers of an id, and positions, are at most this: what can be counted to here.
local MOST = 9007199254740991

local function damage(what) error({err = 'DAMAGED ' .. what .. ' of ' .. T .. ' makes no sense'}) end

local function read_spec()
  local n, size, full, fence = unpack(call('HMGET', T .. 'spec', 'n', 'size', 'full', 'fence'))
  if not n then return nil end
  local spec = {n = tonumber(n), size = tonumber(size), full = full, fence = tonumber(fence)}
  if not (spec.n and spec.size and full and spec.fence) then damage('the kind') end
  return spec
end

local function read_at(part)
  local text = call('HGET', T .. 'at', part) or ''
  local last, ms, seq, gone, gms, gseq = match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  if not last then damage('partition ' .. part) end
  return {last = tonumber(last), ms = tonumber(ms), seq = tonumber(seq),
    gone = tonumber(gone), gms = tonumber(gms), gseq = tonumber(gseq)}
end

local function write_at(part, at)
  call('HSET', T .. 'at', part, string.format('%d %d %d %d %d %d', at.last, at.ms, at.seq, at.gone,
    at.gms, at.gseq))
end

-- The place of the first event whose id is this or greater; nil if there is none.
local function from(part, ms, seq)
  local id = int(ms) .. '-' .. int(seq)
  local found = call('XRANGE', T .. 'ev:' .. part, id, '+', 'COUNT', 1)[1]
  if not found then return nil end
  local ms, seq = match(found[1], '^(%d+)-(%d+)$')
  local position = found[2][1] == '#' and tonumber(found[2][2])
  if not position then damage('event ' .. found[1] .. ' in partition ' .. part) end
  return position, tonumber(ms), tonumber(seq)
end

-- The id of an event that is kept, by its position: ids grow with positions, so it can be searched for.
local function id_of(part, at, position)
  if position == at.last then return at.ms, at.seq end
  local function is_before(ms, seq)
    local found = from(part, ms, seq)
    return found and found <= position
  end
  local function greatest(low, high, holds)
    while high - low > 1 do
      local middle = low + math.floor((high - low) / 2)
      if holds(middle) then low = middle else high = middle end
    end
    return low
  end
  local ms = greatest(at.gms, at.ms + 1, function(ms) return is_before(ms, 0) end)
  -- Most of one millisecond follow each other without gaps.
  local first, _, seq = from(part, ms, 0)
  local found, fms, fseq
  if first then found, fms, fseq = from(part, ms, seq + position - first) end
  if found ~= position then
    seq = greatest(0, MOST + 1, function(seq) return is_before(ms, seq) end)
    found, fms, fseq = from(part, ms, seq)
  end
  if found ~= position then damage('event ' .. int(position) .. ' in partition ' .. part) end
  return fms, fseq
end

-- The place behind which the event of that position comes.
local function before(part, at, position)
  if position <= at.gone + 1 then return at.gone, at.gms, at.gseq end
  if position > at.last then return at.last, at.ms, at.seq end
  return position - 1, id_of(part, at, position - 1)
end

local function is_quiet(share) return share.tpos <= share.pos end

local function forget_trouble(share)
  share.tpos, share.tms, share.tseq, share.tries, share.rest, share.tat, share.json = 0, 0, 0, 0, '-', 0, ''
end

-- A processor does not wait for events that are gone.
local function keep_up(share, at)
  if share.pos < at.gone then share.pos, share.ms, share.seq = at.gone, at.gms, at.gseq end
end

local function read_share(proc, part, at)
  local text = call('HGET', T .. 'share:' .. proc, part) or ''
  local fence, pos, ms, seq, owner, till, moved, tpos, tms, tseq, tries, rest, tat, json = match(text,
    '^(%d+) (%d+) (%d+) (%d+) (%S+) (%d+) (%S+) (%d+) (%d+) (%d+) (%d+) (%S) (%d+) (.*)$')
  if not fence then damage('what ' .. proc .. ' has passed in partition ' .. part) end
  local share = {fence = tonumber(fence), pos = tonumber(pos), ms = tonumber(ms), seq = tonumber(seq),
    owner = owner, till = tonumber(till), moved = moved, tpos = tonumber(tpos), tms = tonumber(tms),
    tseq = tonumber(tseq), tries = tonumber(tries), rest = rest, tat = tonumber(tat), json = json}
  if at then keep_up(share, at) end
  return share
end

local function write_share(proc, part, s)
  call('HSET', T .. 'share:' .. proc, part, string.format(
    '%d %d %d %d %s %d %s %d %d %d %d %s %d ', s.fence, s.pos, s.ms, s.seq, s.owner, s.till, s.moved,
    s.tpos, s.tms, s.tseq, s.tries, s.rest, s.tat) .. s.json)
end

local function is_held(share) return share.owner ~= '-' and share.till > boot end

local function set_free(share) share.owner, share.till = '-', 0 end

-- What is kept of a failure, as answers have it.
local function trouble(s)
  if is_quiet(s) then return {} end
  return {s.tpos, s.tms, s.tseq, s.tries, s.rest, s.tat, s.json}
end

-- When a member is believed to be dead, and which came.
local function member(proc, name)
  local text = call('HGET', T .. 'member:' .. proc, name)
  if not text then return nil end
  local order, till = match(text, '^(%d+) (%d+)$')
  if not order then damage('member ' .. name .. ' of ' .. proc) end
  return tonumber(till), tonumber(order)
end

local function members(proc)
  local all = {}
  for _, name in ipairs(call('HKEYS', T .. 'member:' .. proc)) do
    local till, order = member(proc, name)
    if till > boot then all[#all + 1] = {order, name} end
  end
  table.sort(all, function(one, other) return one[1] < other[1] end)
  for i, one in ipairs(all) do all[i] = one[2] end
  return all
end

-- How many members a processor ever had, and why it is paused; nil if nobody knows it.
local function read_by(proc)
  local text = call('HGET', T .. 'by', proc)
  if not text then return nil end
  local came, flag, why = match(text, '^(%d+) ([01])(.*)$')
  if not came then damage('processor ' .. proc) end
  return tonumber(came), flag == '1' and why
end

local function write_by(proc, came, why)
  call('HSET', T .. 'by', proc, int(came) .. ' ' .. (why and '1' .. why or '0'))
end

local function view(spec, proc)
  local _, why = read_by(proc)
  local shares = {}
  for part = 0, spec.n - 1 do
    local at = read_at(part)
    local s = read_share(proc, part, at)
    local since
    if s.pos < at.last then _, since = from(part, s.ms, s.seq + 1) end
    shares[part + 1] = {s.fence, s.pos, s.ms, s.seq, is_held(s) and s.owner or '', s.moved, at.last, at.ms,
      at.seq, since or -1, call('ZCARD', T .. 'dead:' .. part .. ':' .. proc), trouble(s)}
  end
  return {proc, why and {why} or {}, members(proc), shares}
end

-- Tells those who wait that there is something to do.
local function tell_streams(rung)
  call('PUBLISH', sub(T, 1, string.find(T, '|', 1, true)) .. '}streams', rung)
end
