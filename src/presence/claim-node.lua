-- Claims the entries of a dead node for one reaper, or extends the claim. From then on the node cannot
-- renew its lease, so that no entry of a living node is removed.
--
-- KEYS  1 nodes
-- ARGV  1 the dead node   2 the score from which its death was concluded   3 duration of the claim in ms
--       4 "1" to extend the caller's own claim   5 how far in the future, in ms, a lease or claim can end
-- Returns the new score, or false when the score has changed
--
-- A claim is a negative score: minus the time at which it ends. If its reaper dies as well, another takes over.

local score = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if score == 0 or score ~= tonumber(ARGV[2]) then return false end

local time = redis.call('TIME')
local millis = time[1] * 1000.0 + (time[2] - time[2] % 1000) / 1000
local left = math.abs(score) - millis
if ARGV[4] ~= '1' and left >= 0 and left <= tonumber(ARGV[5]) then return false end
local claim = string.format('%.0f', -(millis + tonumber(ARGV[3])))
redis.call('ZADD', KEYS[1], claim, ARGV[1])
return claim
