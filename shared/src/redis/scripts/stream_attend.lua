-- Says that a supervisor serves a processor, renews what it holds, and tells how things are.
-- KEYS  1 routing
-- ARGV  3 processor, 4 supervisor, 5 for how long (ms); then of what it holds: partition, fence
-- RETURNS  {-1} unknown stream, or {0, view}; a view is told in `stream.lua`
local spec = read_spec()
if not spec then return {-1} end
local proc, who, till = ARGV[3], ARGV[4], boot + tonumber(ARGV[5])
local came, why = read_by(proc)
if not came then
  for part = 0, spec.n - 1 do
    local at = read_at(part)
    local share = {fence = 0, pos = at.gone, ms = at.gms, seq = at.gseq, owner = '-', till = 0, moved = '-'}
    forget_trouble(share)
    write_share(proc, part, share)
  end
  came = 0
  write_by(proc, came)
end
for _, name in ipairs(call('HKEYS', T .. 'member:' .. proc)) do
  if member(proc, name) <= boot then call('HDEL', T .. 'member:' .. proc, name) end
end
local _, order = member(proc, who)
if not order then
  order = came + 1
  write_by(proc, order, why)
end
call('HSET', T .. 'member:' .. proc, who, int(order) .. ' ' .. int(till))
for i = 6, #ARGV, 2 do
  local part = ARGV[i]
  local share = tonumber(part) < spec.n and read_share(proc, part)
  if share and share.fence == tonumber(ARGV[i + 1]) and share.owner == who then
    share.till = till
    write_share(proc, part, share)
  end
end
return {0, view(spec, proc)}
