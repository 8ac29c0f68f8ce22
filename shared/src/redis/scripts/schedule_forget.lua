-- Removes a schedule's row, if nobody else has changed it.
-- KEYS  1 routing
-- ARGV  3 name, 4 the version that was read
-- RETURNS  1 removed, 0 it is another one by now
local row = call('HGET', ROWS, ARGV[3])
if not row or read_row(row) ~= ARGV[4] then return 0 end
call('HDEL', ROWS, ARGV[3])
call('ZREM', DUES, ARGV[3])
return 1
