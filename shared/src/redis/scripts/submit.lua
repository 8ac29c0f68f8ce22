-- Stores jobs of one queue, ready or delayed, if their uuids are new.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, priority, task, ready at (ms; empty: now), ttl (ms; empty: none),
--       expires at (ms; empty: none), rest of the record from byte 55, token and message
-- RETURNS  per job 1 created, 0 known, 2 refused: the queue is draining. A job that was created
--          with the same token is created.
local n = (#ARGV - 2) / 7
local is_closed = call('GET', T .. 'gate') == '2'
local last = number_jobs(n)
local out = {}
for i = 1, n do
  local b = 2 + (i - 1) * 7
  if is_closed and call('EXISTS', T .. 'm:' .. ARGV[b + 1]) == 0 then
    out[i] = 2
  else
    local ends = ARGV[b + 5] ~= '' or ARGV[b + 6] ~= ''
    local created, is_own = store(last - n + i, ARGV[b + 1], ARGV[b + 2], ARGV[b + 3],
      tonumber(ARGV[b + 4]), ends, ARGV[b + 7])
    out[i] = (created or is_own) and 1 or 0
  end
end
line_up_born()
return out
