-- The end of submit and schedule_fire. Used by scripts that take jobs as submit.lua tells: stores `n` of them, four arguments each after
-- argument `from`. Returns `answer`, or else per job 1 created, 0 known, 2 if the queue is closed to new
-- ones and not `takes_all`, or the uuid of another job that has its unique key.
local function store_unique(once, number, uuid, ready, rest, message) -- seldom
  local by = has_key(once, uuid)
  if by then return by end
  local created, is_own = store(number, uuid, ready, rest, message)
  if created then keep_key(once, uuid, now) end
  return (created or is_own) and 1 or 0
end

local out, last = {}, numbered or number_jobs(n)
local is_closed = not takes_all and call('GET', T .. 'gate') == '2'
for i = 1, n do
  local b = from + (i - 1) * 4
  local number, head, rest, message, once = last - n + i, ARGV[b + 1], ARGV[b + 2], ARGV[b + 3], ARGV[b + 4]
  local uuid, ready = sub(head, 1, 32), #head > 32 and tonumber(sub(head, 33))
  if is_closed and call('EXISTS', T .. 's:' .. uuid) == 0 then
    out[i] = 2
  elseif once ~= '' then
    out[i] = store_unique(once, number, uuid, ready, rest, message)
  else
    local created, is_own = store(number, uuid, ready, rest, message)
    out[i] = (created or is_own) and 1 or 0
  end
end
line_up_born()
return answer or out
