-- Claims the remains of a dead node for one reaper, or prolongs the claim. From then on the node
-- cannot renew its lease any more, so nothing is taken from a living one.
--
-- KEYS  1 nodes
-- ARGV  1 the dead node   2 the score it was judged by   3 how long the claim holds, in ms
--       4 "1" when the claim is the caller's own and is to be prolonged
-- Returns the new score, or false when the score is another by now
--
-- A claim is a negative score: minus the time it ends. When its reaper dies too, another takes over.

local score = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if score == 0 or score ~= tonumber(ARGV[2]) then return false end

local time = redis.call('TIME')
local millis = time[1] * 1000.0 + (time[2] - time[2] % 1000) / 1000
if ARGV[4] ~= '1' and math.abs(score) >= millis then return false end
local claim = string.format('%.0f', -(millis + tonumber(ARGV[3])))
redis.call('ZADD', KEYS[1], claim, ARGV[1])
return claim
