-- Reads what a sweep needs: the time, all leases, and the users whose grace or own status has ended.
--
-- KEYS  1 nodes   2 due   3 layout
-- ARGV  1 largest number of users
-- Returns { now in ms, { node, lease expiry in ms, ... }, { user, ... }, the stored layout, or "" }

-- Changes nothing, and is refused whenever renewals are: out of memory, too few replicas, read-only, ACL. A process that
-- owns no entries in this partition has no other way to learn that the leases it sees could not be renewed.
redis.call('ZADD', KEYS[1], 'XX', '0', '')

local time = redis.call('TIME')
local millis = time[1] * 1000.0 + (time[2] - time[2] % 1000) / 1000
local now = string.format('%.0f', millis)
return {
  now,
  redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'),
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1]),
  redis.call('GET', KEYS[3]) or '',
}
