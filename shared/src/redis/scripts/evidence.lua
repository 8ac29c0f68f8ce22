-- Used by all scripts where a test asks for evidence, before what they begin with: tells a stream of
-- every record that is written, in the same step, if its state, fence, owner or mark of a revocation
-- has changed.
-- `T evidence`: uuid, old (the record's first 166 bytes; empty for none), new (the same; empty if it
-- is forgotten; the whole record where an attempt ends), due (when the lease that was there ends).
local server = redis
local function written(uuid, new, old)
  local T, sub = ARGV[1], string.sub
  local function what(rec) return sub(rec, 1, 30) .. sub(rec, 135, 166) end
  if what(old) == what(new) then return end
  local was_leased, is_leased = sub(old, 1, 1) == 'L', sub(new, 1, 1) == 'L'
  local due = was_leased and server.call('ZSCORE', T .. 'l', sub(old, 17, 30) .. uuid)
  if is_leased or not was_leased then new = sub(new, 1, 166) end
  server.call('XADD', T .. 'evidence', '*', 'uuid', uuid, 'old', sub(old, 1, 166), 'new', new,
    'due', due or '')
end

local function known(T, uuid)
  local old = server.call('GETRANGE', T .. 's:' .. uuid, 0, 165)
  return old ~= '' and old or server.call('GETRANGE', T .. 'm:' .. uuid, 0, 165)
end

local redis = {pcall = server.pcall, call = function(command, ...)
  if command ~= 'SET' and command ~= 'DEL' then return server.call(command, ...) end
  local T, key, value = ARGV[1], ...
  local kind, uuid = string.sub(key, 1, #T + 2), string.sub(key, #T + 3)
  local is_record = #uuid == 32 and (kind == T .. 's:' or kind == T .. 'm:')
  -- What belongs to the namespace is no job.
  if not is_record or string.sub(T, -2) == '|}' then return server.call(command, ...) end
  local old = known(T, uuid)
  local done = server.call(command, ...)
  if done then written(uuid, command == 'SET' and value or '', old) end
  return done
end}

