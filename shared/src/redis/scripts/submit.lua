-- Stores jobs of one queue, ready or delayed, if their uuids are new.
-- KEYS  1 routing
-- ARGV  3 the last number they get (empty: by the time), 4.. per job: uuid and ready at (ms; nothing:
--       now), the record from byte 55 on, its message if that is long, for how long its unique key is
--       kept (ms; `e`: until its job has ended) and, behind a space, that key (empty: none)
-- RETURNS  per job 1 created, 0 known, 2 refused: the queue is draining, or the uuid of another
--          that has its unique key. A job that was created with the same token is created.
-- What store_all.lua and number.lua go by.
local from, n, takes_all, answer = 3, (#ARGV - 3) / 4, false, nil
numbered = tonumber(ARGV[3])
