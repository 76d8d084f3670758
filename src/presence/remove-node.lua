-- Strikes a node off the list once it owns nothing. A late write of the node keeps it listed.
--
-- KEYS  1 nodes   2 the node's pairs
-- ARGV  1 node
-- Returns 1 if it is off the list, 0 if it still owns something

if redis.call('SCARD', KEYS[2]) > 0 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
