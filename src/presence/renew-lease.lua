-- Renews a node's lease, and with it the backstop TTLs of some of the keys it answers for.
--
-- KEYS  1 nodes, then keys whose TTL is to start again
-- ARGV  1 node   2 lease in ms   3 backstop TTL in ms   4 the lease as the node knows it
-- Returns { the lease as it was, or "" where it was not listed; the lease now, or "" when it is lost;
--           then for each further key 1 if it exists, else 0 }
--
-- A lease that is gone (reaped, wiped) or claimed by a reaper (negative) is not brought back: what
-- it stood for may be half removed. Its node starts anew.

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then return { '', '' } end
if tonumber(score) < 0 then return { score, '' } end
-- An older one than the node knows: writes were lost. It stays until the node has got the message.
if tonumber(score) < tonumber(ARGV[4]) then return { score, score } end

local time = redis.call('TIME')
local millis = time[1] * 1000.0 + (time[2] - time[2] % 1000) / 1000
local lease = string.format('%.0f', millis + tonumber(ARGV[2]))
redis.call('ZADD', KEYS[1], lease, ARGV[1])

local replies = { score, lease }
for k = 2, #KEYS do
  replies[k + 1] = redis.call('PEXPIRE', KEYS[k], ARGV[3])
end
-- The embedded engine returns nothing for a table that grew.
return { unpack(replies) }
