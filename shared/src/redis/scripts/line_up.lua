-- Lists jobs that nobody holds in the order of the line, for send_off; at most 2000 in one call.
-- KEYS  1 routing
-- ARGV  3 where to go on (empty: at the start), 4 after how many of these
-- RETURNS  how many were listed, where to go on (empty: all were listed), after how many
local names = {'d', 'p', 'parked', 'e:S', 'e:D', 'e:O'}
for _, task in ipairs(call('SMEMBERS', T .. 't')) do names[#names + 1] = 'r:' .. task end
table.sort(names)
local from, skip, left = ARGV[3], tonumber(ARGV[4]), 2000
local next_name, next_skip = '', 0
local list = {}
for _, name in ipairs(names) do
  if name >= from and next_name == '' then
    local after = name == from and skip or 0
    local some = call('ZRANGE', T .. name, after, after + left - 1)
    for _, place in ipairs(some) do
      list[#list + 1] = 0
      list[#list + 1] = place
    end
    left = left - #some
    if left == 0 then next_name, next_skip = name, after + #some end
  end
end
each('ZADD', T .. 'h', list)
-- A list only: if the move is given up, it goes by itself.
if #list > 0 then call('PEXPIRE', T .. 'h', 3600000) end
return {#list / 2, next_name, next_skip}
