-- Used by scripts about schedules. A row is "version due body"; a due of - is never.
local ROWS, DUES = T .. 'times', T .. 'due'

local function read_row(row)
  return string.match(row, '^(%d+) (%S+) (.*)$')
end

local function write_row(name, version, due, body)
  call('HSET', ROWS, name, version .. ' ' .. due .. ' ' .. body)
  if due == '-' then
    call('ZREM', DUES, name)
  else
    call('ZADD', DUES, due, name)
  end
end

-- One more than a version.
local function later(version) return int(tonumber(version) + 1) end
