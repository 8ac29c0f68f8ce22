-- Numbers new jobs. Used by all scripts that store some. A number is the server's time of day, in parts of
-- a second of which there are 2^20: so clients that know it can number jobs without a script, and what a
-- number names with its uuid is one job, whatever was lost.
local numbered

-- The last of `n` new numbers.
local function number_jobs(n)
  if not numbered then
    -- Not `now`, which a test may have turned.
    local t = call('TIME')
    numbered = t[1] * 1048576 + math.floor(t[2] * 1.048576)
  end
  numbered = numbered + n
  return numbered
end
