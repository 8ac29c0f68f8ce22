-- Used by scripts that store jobs: `n` of them, seven arguments each, after argument `from`. Their
-- order is told in submit.lua. Returns per job 1 created, 0 known.
local function store(from, n)
  local last = call('INCRBY', T .. 'seq', n)
  if last == n then
    -- From the clock: a number that was given out is not given out again, whatever was lost.
    last = math.floor(now / 1000) * 1048576 + n
    call('SET', T .. 'seq', string.format('%.0f', last))
  end
  local out, delayed, ending, ready_lists = {}, {}, {}, {}
  local at = hex(now)
  for i = 1, n do
    local b = from + (i - 1) * 7
    local uuid, priority, task = ARGV[b + 1], ARGV[b + 2], ARGV[b + 3]
    local ready = tonumber(ARGV[b + 4]) or now
    if ready < now then ready = now end
    local seq = string.format('%014x', last - n + i)
    local key = T .. 'm:' .. uuid
    local message = 'R000000000000000' .. seq .. at .. (ready == now and at or hex(ready))
      .. ARGV[b + 7]
    local created = call('SET', key, message, 'NX')
    if not created then
      local known = call('GET', T .. 's:' .. uuid)
      if known and is_past(known) then
        forget(sub(known, 17, 30) .. uuid)
        created = call('SET', key, message)
      else
        local head = call('GETRANGE', key, 0, 399)
        local token = string.find(head, '\n', 176, true)
        local own = string.find(message, '\n', 176, true)
        out[i] = sub(head, token + 1, token + 16) == sub(message, own + 1, own + 16) and 1 or 0
      end
    end
    if created then
      out[i] = 1
      local place = seq .. uuid .. priority .. ':' .. task
      if ready > now then
        delayed[#delayed + 1] = int(ready)
        delayed[#delayed + 1] = place
      else
        append(ready_lists, task, priority, place)
      end
      if ARGV[b + 5] ~= '' or ARGV[b + 6] ~= '' then
        ending[#ending + 1] = int(deadline(message, ready))
        ending[#ending + 1] = place
      end
    end
  end
  each('ZADD', T .. 'd', delayed)
  each('ZADD', T .. 'x', ending)
  make_ready(ready_lists)
  for task in pairs(ready_lists) do ring(task) end
  return out
end
