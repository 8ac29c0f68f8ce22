-- Stores jobs of one queue, ready or delayed, if their uuids are new.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid, priority, task, ready at (ms; empty: now), ttl (ms; empty: none),
--       expires at (ms; empty: none), rest of the record from byte 55, token and message
-- RETURNS  per job 1 created, 0 known, 2 refused: the queue is draining. A job that was created
--          with the same token is created.
return store_all(2, (#ARGV - 2) / 7, call('GET', T .. 'gate') == '2')
