-- Makes steps of holders.
-- KEYS  1 routing
-- ARGV  3 processor, 4 dead letters kept; then of each step: partition, fence, what (t passed to, b the
--       same and buried, f failed), place (3), tries, rest, when, JSON of the trouble (f), how many are
--       buried; of these position and what is kept of it
-- RETURNS  {-1} unknown stream, {-2, partition} unknown partition, or of each step 1 if it was made, else 0
local spec, proc = read_spec(), ARGV[3]
if not spec then return {-1} end
local is_known, made, i = read_by(proc), {}, 5
while i <= #ARGV do
  if tonumber(ARGV[i]) >= spec.n then return {-2, tonumber(ARGV[i])} end
  i = i + 11 + 2 * tonumber(ARGV[i + 10])
end
i = 5
while i <= #ARGV do
  local part, what = ARGV[i], ARGV[i + 2]
  local pos, ms, seq = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local buried = tonumber(ARGV[i + 10])
  local at, s
  if is_known then
    at = read_at(part)
    s = read_share(proc, part, at)
  end
  if not s or s.fence == 0 or s.fence ~= tonumber(ARGV[i + 1]) then
    made[#made + 1] = 0
  else
    made[#made + 1] = 1
    if what == 'f' then
      if pos > s.pos then
        s.tpos, s.tms, s.tseq, s.tries = pos, ms, seq, tonumber(ARGV[i + 6])
        s.rest, s.tat, s.json = ARGV[i + 7], tonumber(ARGV[i + 8]), ARGV[i + 9]
        write_share(proc, part, s)
      end
    else
      if pos > at.last then pos, ms, seq = at.last, at.ms, at.seq end
      if pos > s.pos then
        s.pos, s.ms, s.seq = pos, ms, seq
        if is_quiet(s) then forget_trouble(s) end
        write_share(proc, part, s)
        local dead = T .. 'dead:' .. part .. ':' .. proc
        for k = i + 11, i + 9 + 2 * buried, 2 do
          call('ZREMRANGEBYSCORE', dead, ARGV[k], ARGV[k])
          call('ZADD', dead, ARGV[k], ARGV[k + 1])
        end
        if buried > 0 then call('ZREMRANGEBYRANK', dead, 0, -1 - tonumber(ARGV[4])) end
      end
    end
  end
  i = i + 11 + 2 * buried
end
return made
