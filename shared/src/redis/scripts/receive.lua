-- Stores jobs that come from another store: they wait to be admitted, and run nowhere.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, record up to its seq, record after its seq, message after the seq at
--       its head, 1 if it has a result, result, unique key (empty: none), for how long after
--       its submission (ms; `e`: until its job has ended)
-- RETURNS  per job 1 stored, 0 known: nothing was changed but a fence that was older
local n = (#ARGV - 2) / 8
local last = call('INCRBY', T .. 'seq', n)
if last == n then
  last = math.floor(now / 1000) * 1048576 + n
  call('SET', T .. 'seq', string.format('%.0f', last))
end
local out, arriving = {}, {}
for i = 1, n do
  local b = 2 + (i - 1) * 8
  local uuid, head = ARGV[b + 1], ARGV[b + 2]
  local fence = sub(head, 3, 16)
  local rec = record(uuid)
  if rec and is_past(rec) then
    forget(sub(rec, 17, 30) .. uuid)
    rec = false
  end
  local seq
  if not rec then
    seq = string.format('%014x', last - n + i)
    arriving[#arriving + 1] = 0
    arriving[#arriving + 1] = seq .. uuid
  elseif sub(rec, 2, 2) == '<' and sub(rec, 3, 16) < fence then
    local waits = {r = true, w = true}
    -- One that was revoked here stays so; its end travels no further.
    if waits[sub(rec, 1, 1)] or not waits[sub(head, 1, 1)] then seq = sub(rec, 17, 30) end
  end
  if seq then
    call('SET', T .. 'm:' .. uuid, 'R0' .. fence .. seq .. ARGV[b + 4])
    call('SET', T .. 's:' .. uuid, head .. seq .. ARGV[b + 3])
    if ARGV[b + 5] == '1' then
      call('SET', T .. 'o:' .. uuid, ARGV[b + 6])
    else
      call('DEL', T .. 'o:' .. uuid)
    end
    local once = ARGV[b + 7]
    if once ~= '' and not has_key(once, uuid) then
      keep_key(once, uuid, ARGV[b + 8], num(sub(ARGV[b + 3], 1, 12)))
    end
    out[i] = 1
  else
    -- Whoever holds a job keeps his fence: his settlement must count.
    if sub(rec, 1, 1) ~= 'L' and sub(rec, 3, 16) < fence then
      call('SET', T .. 's:' .. uuid, sub(rec, 1, 2) .. fence .. sub(rec, 17), 'KEEPTTL')
    end
    out[i] = 0
  end
end
each('ZADD', T .. 'i', arriving)
return out
