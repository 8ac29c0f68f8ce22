-- Stores records. How it decides is told in `stream/sending.rs`.
-- KEYS  1 routing
-- ARGV  3 what is published, 4 events removed at most; then of each record: partition, id (ms-seq or
--       nothing), how many words its fields are, names and values
-- RETURNS  {-1} unknown stream, {-2, partition} unknown partition, or of each record three numbers: its
--          place; or 0 and two more, there was no room; or -1 and the last id, it asks for none greater
local spec = read_spec()
if not spec then return {-1} end
local rooms, all, i = {}, {}, 5
local procs = call('HKEYS', T .. 'by')
local drops = spec.full == 'drop-oldest'

local function open(part)
  local at = read_at(part)
  local passed
  for _, proc in ipairs(procs) do
    local pos = read_share(proc, part).pos
    if not passed or pos < passed then passed = pos end
  end
  at.removable = math.max(passed or 0, at.gone)
  rooms[part] = at
end

-- All that can be wrong is found before anything is written.
while i <= #ARGV do
  if tonumber(ARGV[i]) >= spec.n then return {-2, tonumber(ARGV[i])} end
  if not rooms[ARGV[i]] then open(ARGV[i]) end
  i = i + 3 + tonumber(ARGV[i + 2])
end

local function next_id(at, wished)
  local ms, seq
  if wished ~= '' then
    ms, seq = match(wished, '^(%d+)-(%d+)$')
    ms, seq = tonumber(ms), tonumber(seq)
  elseif now > at.ms then
    ms, seq = now, 0
  elseif at.seq < MOST then
    ms, seq = at.ms, at.seq + 1
  else
    ms, seq = at.ms + 1, 0
  end
  local is_newer = ms > at.ms or ms == at.ms and seq > at.seq
  return is_newer and ms <= MOST and ms, seq
end

local function trim(part, at)
  if at.last - at.gone <= spec.size + math.min(math.floor(spec.size / 10), 1000) then return end
  local to = at.last - spec.size
  if not drops then to = math.min(to, at.removable) end
  to = math.min(to, at.gone + tonumber(ARGV[4]))
  if to <= at.gone then return end
  local ms, seq = id_of(part, at, to)
  call('XTRIM', T .. 'ev:' .. part, 'MINID', int(ms) .. '-' .. int(seq + 1))
  at.gone, at.gms, at.gseq = to, ms, seq
end

local failed, has_stored
local function say(one, two, three)
  local n = #all
  all[n + 1], all[n + 2], all[n + 3] = one, two, three
end

i = 5
while i <= #ARGV and not failed do
  local part, words = ARGV[i], tonumber(ARGV[i + 2])
  local at = rooms[part]
  if not drops and at.last - at.removable >= spec.size then at.is_full = true end
  local ms, seq = next_id(at, ARGV[i + 1])
  if at.is_full then
    say(0, 0, 0)
  elseif not ms then
    say(-1, at.ms, at.seq)
  else
    local added = redis.pcall('XADD', T .. 'ev:' .. part, int(ms) .. '-' .. int(seq), '#', int(at.last + 1),
      unpack(ARGV, i + 3, i + 2 + words))
    if type(added) == 'table' and added.err then
      failed = added
    else
      at.last, at.ms, at.seq, has_stored = at.last + 1, ms, seq, true
      say(at.last, ms, seq)
    end
  end
  i = i + 3 + words
end
-- Written before anything can fail: what is stored is known.
for part, at in pairs(rooms) do write_at(part, at) end
if has_stored then tell_streams(ARGV[3]) end
if failed then
  if string.find(failed.err, 'ID specified', 1, true) then damage('an event that others put there') end
  return failed
end
for part, at in pairs(rooms) do
  trim(part, at)
  write_at(part, at)
end
return all
