-- Stores jobs that come from another store: they wait to be admitted, and run nowhere.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, record up to its seq, record after its seq, its message and its result if
--       they are long, its unique key as in submit.lua
-- RETURNS  per job 1 stored, 0 known: nothing was changed but a fence that was older
local n = (#ARGV - 2) / 6
local last = number_jobs(n)
local out, arriving = {}, {}
for i = 1, n do
  local b = 2 + (i - 1) * 6
  local uuid, head = ARGV[b + 1], ARGV[b + 2]
  local fence = sub(head, 3, 16)
  local rec = call('GET', T .. 's:' .. uuid)
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
    local new = head .. seq .. ARGV[b + 3]
    call('SET', T .. 's:' .. uuid, new)
    for k, kind in ipairs({'m:', 'o:'}) do
      if sub(new, -24 + 8 * k, -17 + 8 * k) == ELSEWHERE then
        call('SET', T .. kind .. uuid, ARGV[b + 3 + k])
      else
        call('DEL', T .. kind .. uuid)
      end
    end
    local once = ARGV[b + 6]
    if once ~= '' and not has_key(once, uuid) then
      keep_key(once, uuid, num(sub(ARGV[b + 3], 1, 12)))
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
