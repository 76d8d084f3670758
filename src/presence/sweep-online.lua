-- Looks for members of the online index without a record, as after an eviction, or when all processes were down until the
-- records had expired.
--
-- KEYS  1 online
-- ARGV  1 cursor of SSCAN   2 its COUNT   3 common beginning of the records' keys
-- Returns { next cursor, { user, ... } }
--
-- The records' keys are not in KEYS, because only the index names them. They have the hash tag of KEYS[1].

local reply = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local missing = {}
for _, user in ipairs(reply[2]) do
  if redis.call('EXISTS', ARGV[3] .. user) == 0 then missing[#missing + 1] = user end
end
return { reply[1], missing }
