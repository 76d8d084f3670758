-- What a sweep looks at, in one round trip: the time, all leases, and whose grace is over.
--
-- KEYS  1 nodes   2 due   3 layout
-- ARGV  1 how many users at most
-- Returns { now in ms, { node, lease expiry in ms, ... }, { user, ... }, the layout as written, or "" }

local time = redis.call('TIME')
local millis = time[1] * 1000.0 + (time[2] - time[2] % 1000) / 1000
local now = string.format('%.0f', millis)
return {
  now,
  redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'),
  redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1]),
  redis.call('GET', KEYS[3]) or '',
}
