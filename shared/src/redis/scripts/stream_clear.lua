-- Removes a stream with all that belongs to it.
-- KEYS  1 routing
-- ARGV  3 what is published
-- RETURNS  nothing
local count = tonumber(call('HGET', T .. 'spec', 'n')) or 0
local procs = call('HKEYS', T .. 'by')
for part = 0, count - 1 do
  call('UNLINK', T .. 'ev:' .. part)
  for _, proc in ipairs(procs) do call('UNLINK', T .. 'dead:' .. part .. ':' .. proc) end
end
for _, proc in ipairs(procs) do call('UNLINK', T .. 'share:' .. proc, T .. 'member:' .. proc) end
call('UNLINK', T .. 'spec', T .. 'at', T .. 'by')
tell_streams(ARGV[3])
return 0
