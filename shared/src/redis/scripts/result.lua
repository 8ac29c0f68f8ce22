-- Reads the result of a job, and takes it away if asked to.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 take (0/1)
-- RETURNS  false, or {record} without and {record, result} with a result
local uuid = ARGV[3]
local rec = record(uuid)
if not rec then return false end
local till, kept = sub(rec, 123, 134), sub(rec, 111, 122)
local is_over = (till ~= NONE and num(till) <= now) or (kept ~= NONE and num(kept) <= now)
if string.upper(sub(rec, 1, 1)) ~= 'S' or is_over then return {rec} end
local result = call('GET', T .. 'o:' .. uuid)
if not result then return {rec} end
if ARGV[4] == '1' then
  call('DEL', T .. 'o:' .. uuid)
  call('ZREM', T .. 'u', sub(rec, 17, 30) .. uuid)
end
return {rec, result}
