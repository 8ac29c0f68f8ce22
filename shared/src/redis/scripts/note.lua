-- Writes what is known about running jobs; those no longer held are passed over.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, fence .. seq, started at, pid, 1 if progress follows, progress
-- RETURNS  how many were written
local written, changed = 0, {}
for i = 3, #ARGV, 6 do
  local uuid = ARGV[i]
  local rec = call('GET', T .. 's:' .. uuid)
  if rec and sub(rec, 1, 1) == 'L' and sub(rec, 3, 30) == ARGV[i + 1] then
    local new = sub(rec, 1, 78) .. ARGV[i + 2] .. ARGV[i + 3] .. sub(rec, 99, 167)
    if ARGV[i + 4] == '1' then
      local stop = string.find(rec, '\n', 176, true)
      local progress = num(sub(rec, 168, 175))
      new = new .. string.format('%08x', #ARGV[i + 5]) .. sub(rec, 176, stop) .. ARGV[i + 5]
        .. sub(rec, stop + 1 + progress)
      changed[#changed + 1] = uuid
    else
      new = new .. sub(rec, 168)
    end
    call('SET', T .. 's:' .. uuid, new)
    written = written + 1
  end
end
tell(changed)
return written
