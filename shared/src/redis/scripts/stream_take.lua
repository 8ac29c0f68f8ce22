-- Takes those of these partitions that nobody holds.
-- KEYS  1 routing
-- ARGV  3 processor, 4 supervisor, 5 for how long (ms); then partitions
-- RETURNS  {-1} unknown stream, {-2, partition} unknown partition, or 0 and of each that was taken
--          {partition, fence, place passed (3), trouble}
local spec = read_spec()
if not spec then return {-1} end
local proc, who, till = ARGV[3], ARGV[4], boot + tonumber(ARGV[5])
for i = 6, #ARGV do
  if tonumber(ARGV[i]) >= spec.n then return {-2, tonumber(ARGV[i])} end
end
local believed = member(proc, who)
if not believed or believed <= boot then return {0} end
local all = {0}
for i = 6, #ARGV do
  local part = ARGV[i]
  local at = read_at(part)
  local s = read_share(proc, part, at)
  local is_resting = s.rest == 'q' and not is_quiet(s)
  if not is_resting and (s.owner == who or not is_held(s)) then
    -- Of a new one; it may have been forgotten once.
    if s.fence == 0 then s.fence = spec.fence end
    s.fence = s.fence + 1
    s.owner, s.till = who, till
    local what, ms, seq = match(s.moved, '^(%l+):?(%d*)%-?(%d*)$')
    if what == 'start' then
      s.pos, s.ms, s.seq = at.gone, at.gms, at.gseq
    elseif what == 'end' then
      s.pos, s.ms, s.seq = at.last, at.ms, at.seq
    elseif what == 'id' then
      ms, seq = math.min(tonumber(ms), MOST), math.min(tonumber(seq), MOST)
      s.pos, s.ms, s.seq = before(part, at, from(part, ms, seq) or at.last + 1)
    elseif what == 'skip' then
      s.pos, s.ms, s.seq = before(part, at, s.pos + tonumber(ms) + 1)
    elseif s.moved ~= '-' then
      damage('where ' .. proc .. ' is to go on in partition ' .. part)
    end
    if what or is_quiet(s) then forget_trouble(s) end
    if s.rest == 'h' then s.rest, s.tries = '-', 0 end
    s.moved = '-'
    write_share(proc, part, s)
    all[#all + 1] = {tonumber(part), s.fence, s.pos, s.ms, s.seq, trouble(s)}
  end
end
return all
