-- Counts the jobs of a queue.
-- KEYS  1 routing
-- ARGV  3 1 to look for the oldest ready job too
-- RETURNS  ready, delayed, leased, succeeded, dead, when the oldest ready job became ready (-1:
--          unknown), what it lets through (0 all, 1 nothing is started, 2 nothing comes in)
local ready, oldest = call('ZCARD', T .. 'p') + call('ZCARD', T .. 'parked'), -1
for _, task in ipairs(call('SMEMBERS', T .. 't')) do
  local key = T .. 'r:' .. task
  ready = ready + call('ZCARD', key)
  if ARGV[3] == '1' then
    -- The first of each priority is its oldest; of the priorities the sixteen most urgent.
    local from = '-inf'
    for _ = 1, 16 do
      local z = call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      if not z[1] then break end
      from = '(' .. z[2]
      local uuid = sub(z[1], 15, 46)
      local at = call('GETRANGE', T .. 's:' .. uuid, 42, 53)
      at = at ~= '' and num(at)
      if at and (oldest < 0 or at < oldest) then oldest = at end
    end
  end
end
return {
  ready, call('ZCARD', T .. 'd'), call('ZCARD', T .. 'l'), call('ZCARD', T .. 'e:S'),
  call('ZCARD', T .. 'e:D'), oldest, tonumber(call('GET', T .. 'gate') or '0'),
}
