-- Stores jobs of one queue, ready or delayed, if their uuids are new.
-- KEYS  1 routing
-- ARGV  3.. per job: uuid and ready at (ms; nothing: now), the record from byte 55 on with token and
--       message, unique key (empty: none), for how long (ms; `e`: until its job has ended)
-- RETURNS  per job 1 created, 0 known, 2 refused: the queue is draining, or the uuid of another
--          that has its unique key. A job that was created with the same token is created.
return store_all(2, (#ARGV - 2) / 4, call('GET', T .. 'gate') == '2')
