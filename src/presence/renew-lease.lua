-- Renews a node's lease, and the TTLs of some keys that contain its entries.
--
-- KEYS  1 nodes, then keys whose TTL starts again
-- ARGV  1 node   2 lease in ms   3 key TTL in ms   4 the lease as last seen by the node
-- Returns { the lease before, or "" if the node was not listed; the lease after, or "" if it is lost;
--           then for each further key 1 if it exists, else 0 }
--
-- A lease that is gone (reaped, wiped) or claimed by a reaper (negative) is not renewed, because some of the
-- node's entries may be removed already. The node continues under a new id.

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then return { '', '' } end
if tonumber(score) < 0 then return { score, '' } end
-- The lease is older than the one the node knows: writes were lost. It stays so until the node has received this reply.
if tonumber(score) < tonumber(ARGV[4]) then return { score, score } end

local time = redis.call('TIME')
local millis = time[1] * 1000.0 + (time[2] - time[2] % 1000) / 1000
local lease = string.format('%.0f', millis + tonumber(ARGV[2]))
redis.call('ZADD', KEYS[1], lease, ARGV[1])

local replies = { score, lease }
for k = 2, #KEYS do
  replies[k + 1] = redis.call('PEXPIRE', KEYS[k], ARGV[3])
end
-- ioredis-mock returns nothing for a table that has grown.
return { unpack(replies) }
