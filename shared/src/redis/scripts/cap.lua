-- Sets a limit on how many jobs run at once: of the queue (`q`) or of a task (`t:task`). Used by limit
-- and announce. Those that run already are counted, as far as ten thousand of them go.
local function set_cap(field, most)
  if (call('HGET', T .. 'cap', field) or '') == most then return end
  local task = sub(field, 1, 2) == 't:' and sub(field, 3)
  if most == '' then
    call('HDEL', T .. 'cap', field)
    if task then call('DEL', T .. 'run:^' .. task) end
  else
    call('HSET', T .. 'cap', field, most)
    if task then
      for _, line in ipairs(call('ZRANGE', T .. 'l', 0, 9999)) do
        local uuid = sub(line, 15, 46)
        local rec = call('GET', T .. 's:' .. uuid)
        local _, its
        if rec then _, its = split(lane(rec), 1) end
        if its == task then call('SADD', T .. 'run:^' .. task, uuid) end
      end
    end
  end
  for _, ready in ipairs(call('SMEMBERS', T .. 't')) do ring(ready) end
end
