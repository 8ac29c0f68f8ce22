-- Used by scripts that take jobs as submit.lua tells: stores `n` of them, four arguments each after
-- argument `from`. Returns per job 1 created, 0 known, 2 if the queue `is_closed` to new ones, or
-- the uuid of another job that has its unique key.
local function store_all(from, n, is_closed)
  local last, out = number_jobs(n), {}
  for i = 1, n do
    local b = from + (i - 1) * 4
    local uuid, once = sub(ARGV[b + 1], 1, 32), ARGV[b + 3]
    local by = once ~= '' and has_key(once, uuid)
    if is_closed and call('EXISTS', T .. 'm:' .. uuid) == 0 then
      out[i] = 2
    elseif by then
      out[i] = by
    else
      local created, is_own = store(last - n + i, uuid, tonumber(sub(ARGV[b + 1], 33)), ARGV[b + 2])
      if created and once ~= '' then keep_key(once, uuid, ARGV[b + 4], now) end
      out[i] = (created or is_own) and 1 or 0
    end
  end
  line_up_born()
  return out
end
