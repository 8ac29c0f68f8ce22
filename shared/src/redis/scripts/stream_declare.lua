-- Makes a stream, or changes what can be changed of it.
-- KEYS  1 routing
-- ARGV  3 partitions, 4 size, 5 what happens when it is full
-- RETURNS  how many partitions it has
local spec = read_spec()
if spec and spec.n ~= tonumber(ARGV[3]) then return spec.n end
if not spec then
  for part = 0, tonumber(ARGV[3]) - 1 do
    write_at(part, {last = 0, ms = 0, seq = 0, gone = 0, gms = 0, gseq = 0})
  end
  -- From the clock: a fence that was given out is not given out again if a stream is made anew.
  call('HSET', T .. 'spec', 'n', ARGV[3], 'fence', int(now * 1024))
end
call('HSET', T .. 'spec', 'size', ARGV[4], 'full', ARGV[5])
return tonumber(ARGV[3])
