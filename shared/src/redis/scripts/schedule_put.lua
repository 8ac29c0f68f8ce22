-- Writes a schedule's row, if nobody else has changed it.
-- KEYS  1 routing
-- ARGV  3 name, 4 the version that was read (0: there was none), 5 due (ms, or -), 6 body
-- RETURNS  1 written, 0 it is another one by now
local name, version = ARGV[3], ARGV[4]
local row = call('HGET', ROWS, name)
if version == '0' then
  if row then return 0 end
  -- From the clock: no later row of that name has a version that this one had.
  write_row(name, int(now), ARGV[5], ARGV[6])
  return 1
end
if not row or read_row(row) ~= version then return 0 end
write_row(name, later(version), ARGV[5], ARGV[6])
return 1
