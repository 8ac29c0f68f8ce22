-- Tells how a stream is.
-- KEYS  1 routing
-- ARGV  nothing more
-- RETURNS  {} unknown stream, or {partitions, size, full, {last place (3), events kept, place of the first
--          (3; 0 if none)} of each partition, views}; a view is told in `stream.lua`
local spec = read_spec()
if not spec then return {} end
local partitions, views = {}, {}
for part = 0, spec.n - 1 do
  local at = read_at(part)
  local pos, ms, seq
  if at.last > at.gone then pos, ms, seq = from(part, at.gms, at.gseq + 1) end
  partitions[part + 1] = {at.last, at.ms, at.seq, at.last - at.gone, pos or 0, ms or 0, seq or 0}
end
local procs = call('HKEYS', T .. 'by')
table.sort(procs)
for i, proc in ipairs(procs) do views[i] = view(spec, proc) end
return {spec.n, spec.size, spec.full, partitions, views}
