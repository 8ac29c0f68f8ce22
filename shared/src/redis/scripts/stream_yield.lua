-- Gives partitions back, or lets a supervisor depart.
-- KEYS  1 routing
-- ARGV  3 processor, 4 what is published, 5 the supervisor that departs, or nothing; then partition,
--       fence of what is given back
-- RETURNS  nothing
local spec, proc, who = read_spec(), ARGV[3], ARGV[5]
if not spec or not read_by(proc) then return 0 end
if who ~= '' then
  for part = 0, spec.n - 1 do
    local share = read_share(proc, part)
    if share.owner == who then
      set_free(share)
      write_share(proc, part, share)
    end
  end
  call('HDEL', T .. 'member:' .. proc, who)
end
for i = 6, #ARGV, 2 do
  local share = tonumber(ARGV[i]) < spec.n and read_share(proc, ARGV[i])
  if share and share.fence == tonumber(ARGV[i + 1]) then
    set_free(share)
    write_share(proc, ARGV[i], share)
  end
end
tell_streams(ARGV[4])
return 0
