-- Names jobs, about the newest of each state.
-- KEYS  1 routing
-- ARGV  3 at most of each, 4 states (letters of records, W for delayed), 5 how many of each to pass over
-- RETURNS  lines, in no order
local out, first = {}, tonumber(ARGV[5])
local last = first + tonumber(ARGV[3]) - 1
local function add(key)
  for _, place in ipairs(call('ZREVRANGE', key, first, last)) do out[#out + 1] = sub(place, 1, 46) end
end
for state in string.gmatch(ARGV[4], '.') do
  if state == 'R' then
    for _, task in ipairs(call('SMEMBERS', T .. 't')) do add(T .. 'r:' .. task) end
    add(T .. 'p')
    add(T .. 'parked')
  elseif state == 'W' then
    add(T .. 'd')
  elseif state == 'L' then
    add(T .. 'l')
  else
    add(T .. 'e:' .. state)
  end
end
-- Those on their way to or from other stores, as what they were.
for _, key in ipairs({T .. 'g', T .. 'i'}) do
  for _, line in ipairs(call('ZREVRANGE', key, first, last)) do
    local state = string.upper(call('GETRANGE', T .. 's:' .. sub(line, 15, 46), 0, 0))
    if state ~= '' and string.find(ARGV[4], state, 1, true) then out[#out + 1] = line end
  end
end
return out
