-- Numbers new jobs. Used by all scripts that store some, gate and clear. A queue that is closed to them has its last number in `T sealed` instead of `T seq`:
-- who finds `T seq` need not look at the gate.
local function number_anew(n) -- seldom
  local last, name, is_closed = n, 'seq', call('GET', T .. 'gate') == '2'
  if is_closed then
    call('DEL', T .. 'seq')
    name = 'sealed'
    last = call('INCRBY', T .. name, int(n))
  end
  if last == n then
    -- From the clock: a number that was given out is not given out again, whatever was lost.
    last = math.floor(now / 1000) * 1048576 + n
    call('SET', T .. name, string.format('%.0f', last))
  end
  return last, is_closed
end

-- The last of `n` new numbers, and whether the queue is closed.
local function number_jobs(n)
  local last = call('INCRBY', T .. 'seq', int(n))
  if last == n then return number_anew(n) end
  return last, false
end

-- Numbers go on where they were. If the gate was lost meanwhile there are later ones already.
local function unseal()
  if call('EXISTS', T .. 'sealed') == 0 then return end
  call('RENAMENX', T .. 'sealed', T .. 'seq')
  call('DEL', T .. 'sealed')
end
