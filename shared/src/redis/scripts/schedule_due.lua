-- Finds schedules of one queue: those that are due, or all of them, or one.
-- KEYS  1 routing
-- ARGV  3 d (due), a (all), or n (one); 4 at most, or the name
-- RETURNS  now, until the next is due (ms; -1: none is), then name, version, due (or -), body, ...
local what, limit = ARGV[3], ARGV[4]
local out, names = {now, -1}, nil
if what == 'd' then
  names = call('ZRANGEBYSCORE', DUES, '-inf', now, 'LIMIT', 0, limit)
  local next = call('ZRANGEBYSCORE', DUES, '(' .. int(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if next[2] then out[2] = tonumber(next[2]) - now end
elseif what == 'a' then
  names = call('HKEYS', ROWS)
else
  names = {limit}
end
for _, name in ipairs(names) do
  local row = call('HGET', ROWS, name)
  if row then
    local version, due, body = read_row(row)
    out[#out + 1] = name
    out[#out + 1] = version
    out[#out + 1] = due
    out[#out + 1] = body
  end
end
return out
