-- Holds locks. Its keys are those of the namespace, of no queue: `T locks` maps a name to "fence since
-- owner", `T lends` gives the end of each (`+inf`: none), `T fence` is the last fence of any lock.
-- KEYS  1 routing
-- ARGV  3 what: a (take), r (renew), p (pass on), f (free), h (holder), l (list), x (forget those
--       whose time is over); 4 name, or at most; 5 owner; 6 for how long (ms; empty: no end),
--       7 fence (empty: of any), 8 what is published when it is free
-- RETURNS  {what became of it: 0 no, 1 yes, 2 held already, name, fence since owner, ms left (-1: no end)}
--          or of l {name, fence since owner, ms left, ...}, of x how many were forgotten and then
--          as of l some of those that have no end
local what, name, owner = ARGV[3], ARGV[4], ARGV[5]
local locks, lends = T .. 'locks', T .. 'lends'

local function left(till)
  return till == math.huge and -1 or math.max(till - boot, 0)
end

local function ends(name)
  local till = tonumber(call('ZSCORE', lends, name) or nil)
  return till and till > boot and till
end

local function free(name)
  call('HDEL', locks, name)
  call('ZREM', lends, name)
end

local function tell_free(heard)
  call('PUBLISH', T .. 'free', heard)
end

if what == 'l' then
  local out, names = {}, call('HKEYS', locks)
  table.sort(names)
  for _, one in ipairs(names) do
    local till = ends(one)
    if till and #out < 3 * tonumber(name) then
      out[#out + 1] = one
      out[#out + 1] = call('HGET', locks, one)
      out[#out + 1] = left(till)
    end
  end
  return out
elseif what == 'x' then
  local over = call('ZRANGEBYSCORE', lends, '-inf', boot, 'LIMIT', 0, math.min(tonumber(name), 1000))
  for _, one in ipairs(over) do free(one) end
  local out = {#over}
  for _, one in ipairs(call('ZRANGEBYSCORE', lends, '+inf', '+inf', 'LIMIT', 0, tonumber(name))) do
    out[#out + 1] = one
    out[#out + 1] = call('HGET', locks, one)
    out[#out + 1] = -1
  end
  return out
end

local till = ends(name)
local held = till and call('HGET', locks, name)
local fence, holder
if held then fence, holder = string.match(held, '^(%d+) %d+ (.*)$') end

local function lend()
  call('ZADD', lends, ARGV[6] == '' and '+inf' or int(boot + tonumber(ARGV[6])), name)
end

if what == 'a' and not held then
  local new = call('INCR', T .. 'fence')
  if new == 1 then
    -- From the clock: a fence that was given out is not given out again, whatever was lost.
    new = math.floor(now / 1000) * 1048576
    call('SET', T .. 'fence', int(new))
  end
  held = int(new) .. ' ' .. int(now) .. ' ' .. owner
  call('HSET', locks, name, held)
  lend()
  return {1, name, held, -1}
elseif what == 'a' then
  return {holder == owner and 2 or 0, name, held, left(till)}
end

if not held then return {0} end
local is_ours = ARGV[7] == '' or fence == ARGV[7]
if what == 'f' and owner ~= '' and holder ~= owner then is_ours = false end
if what == 'h' or not is_ours then return {0, name, held, left(till)} end
if what == 'r' then
  lend()
elseif what == 'p' then
  call('HSET', locks, name, string.match(held, '^%d+ %d+ ') .. owner)
  lend()
else
  free(name)
  tell_free(ARGV[8])
end
return {1, name, held, left(till)}
