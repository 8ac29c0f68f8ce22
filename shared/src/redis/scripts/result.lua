-- Reads the result of a job, and takes it away if asked to.
-- KEYS  1 routing
-- ARGV  3 uuid, 4 take (0/1)
-- RETURNS  false, or {record} without and {record, result} with a result
local uuid = ARGV[3]
local rec = call('GET', T .. 's:' .. uuid)
if not rec then return false end
if string.upper(sub(rec, 1, 1)) ~= 'S' or is_over(rec) then return {rec} end
local result = result_of(uuid, rec)
if not result then return {rec} end
if ARGV[4] == '1' then
  drop_result(uuid, rec)
  call('ZREM', T .. 'u', sub(rec, 17, 30) .. uuid)
end
return {rec, result}
