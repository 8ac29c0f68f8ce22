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

-- The job whose record a key holds. What belongs to the namespace is no job.
local function job(key)
  local T = ARGV[1]
  local kind, uuid = string.sub(key, 1, #T + 2), string.sub(key, #T + 3)
  return kind == T .. 's:' and #uuid == 32 and string.sub(T, -2) ~= '|}' and uuid
end

local redis = {pcall = server.pcall, call = function(command, ...)
  local writes = {SET = 2, MSET = 2, DEL = 1}
  local step, all, before = writes[command], {...}, {}
  if not step then return server.call(command, ...) end
  local last = command == 'SET' and 1 or #all
  for i = 1, last, step do
    if job(all[i]) then before[i] = server.call('GETRANGE', all[i], 0, 165) end
  end
  local done = server.call(command, ...)
  for i = 1, done and last or 0, step do
    if before[i] then written(job(all[i]), step == 2 and all[i + 1] or '', before[i]) end
  end
  return done
end}
