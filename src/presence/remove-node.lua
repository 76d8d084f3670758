-- Removes a node from the list unless it still owns entries, as after a late write.
--
-- KEYS  1 nodes   2 owner set of the node   3 its inbox, unless it may still be alive
-- ARGV  1 node
-- Returns 1 if the node was removed, 0 if it still owns entries

if redis.call('SCARD', KEYS[2]) > 0 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
if KEYS[3] then redis.call('DEL', KEYS[3]) end
return 1
