-- Submits a firing's jobs and moves its schedule on, if nobody else has.
-- KEYS  1 routing
-- ARGV  3 name, 4 the version that was read, 5 due from now on (ms, or -), 6 body from now on,
--       7 the uuid of a job that is to have ended (empty: none), 8 due and 9 body if it has not,
--       10.. jobs as in submit.lua
-- RETURNS  1 submitted, 2 that job has not ended: moved on without, 0 it is another row by now
local name, version, waited = ARGV[3], ARGV[4], ARGV[7]
local row = call('HGET', ROWS, name)
if not row or read_row(row) ~= version then return 0 end
local rec = waited ~= '' and call('GET', T .. 's:' .. waited)
-- On its way to or from another store a job's state is a small letter.
if rec and not string.find('SDO', string.upper(sub(rec, 1, 1)), 1, true) then
  write_row(name, later(version), ARGV[8], ARGV[9])
  return 2
end
write_row(name, later(version), ARGV[5], ARGV[6])
-- What store_all.lua goes by.
local from, n, takes_all, answer = 9, (#ARGV - 9) / 4, true, 1
