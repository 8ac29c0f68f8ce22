-- Stores jobs of one queue, ready or delayed, if their uuids are new.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, priority, task, ready at (ms; empty: now), ttl (ms; empty: none),
--       expires at (ms; empty: none), rest of the record from byte 55, token and message
-- RETURNS  per job 1 created, 0 known. A job that was created with the same token is created.
local n = (#ARGV - 2) / 7
local last = number_jobs(n)
local out = {}
for i = 1, n do
  local b = 2 + (i - 1) * 7
  local ends = ARGV[b + 5] ~= '' or ARGV[b + 6] ~= ''
  local created, is_own = store(last - n + i, ARGV[b + 1], ARGV[b + 2], ARGV[b + 3],
    tonumber(ARGV[b + 4]), ends, ARGV[b + 7])
  out[i] = (created or is_own) and 1 or 0
end
line_up_born()
return out
