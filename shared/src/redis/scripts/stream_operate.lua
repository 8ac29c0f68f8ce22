-- What operators do to processors.
-- KEYS  1 routing
-- ARGV  3 what: seek, release, pause, resume, forget; 4 what is published, 5 processor, or nothing for all;
--       of pause 6 why, of seek 6 where to; then partitions, none for all
-- RETURNS  {-1} unknown stream, {-2, partition} unknown partition, {-3} unknown processor, {-4} it is
--          served, or 0 and of release the partitions that rested
local what, proc, spec = ARGV[3], ARGV[5], read_spec()
if not spec then return {-1} end
local came = proc ~= '' and read_by(proc)
if proc ~= '' and not came then return {-3} end

if what == 'pause' or what == 'resume' then
  for _, one in ipairs(proc ~= '' and {proc} or call('HKEYS', T .. 'by')) do
    write_by(one, (read_by(one)), what == 'pause' and ARGV[6])
  end
  tell_streams(ARGV[4])
  return {0}
elseif what == 'forget' then
  if #members(proc) > 0 then return {-4} end
  local fence = spec.fence
  for part = 0, spec.n - 1 do
    fence = math.max(fence, read_share(proc, part).fence)
    call('UNLINK', T .. 'dead:' .. part .. ':' .. proc)
  end
  -- No fence of it comes back.
  call('HSET', T .. 'spec', 'fence', int(fence))
  call('HDEL', T .. 'by', proc)
  call('DEL', T .. 'share:' .. proc, T .. 'member:' .. proc)
  return {0}
end

local parts = {unpack(ARGV, 7)}
for _, part in ipairs(parts) do
  if tonumber(part) >= spec.n then return {-2, tonumber(part)} end
end
if #parts == 0 then
  for part = 0, spec.n - 1 do parts[part + 1] = part end
end
local out = {0}
for _, part in ipairs(parts) do
  local share = read_share(proc, part, read_at(part))
  if what == 'seek' then
    share.moved, share.rest = ARGV[6], '-'
    write_share(proc, part, share)
  elseif share.rest ~= '-' and not is_quiet(share) then
    forget_trouble(share)
    write_share(proc, part, share)
    out[#out + 1] = tonumber(part)
  end
end
tell_streams(ARGV[4])
return out
