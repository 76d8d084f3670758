-- Moves a user's read marker forward, never back.
--
-- KEYS  1 string: the marker, the position of the last read notification
-- ARGV  1 the position read; 2 ttl of the marker, in ms
-- Returns the marker after the call; 1 if it has moved, else 0

local function timeOf(position)
  if type(position) ~= 'string' then return 0 end
  return tonumber(string.match(position, '^(%d+)%-%d+$') or '0')
end

local current = redis.call('GET', KEYS[1])
if timeOf(ARGV[1]) > timeOf(current) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return { ARGV[1], 1 }
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if type(current) ~= 'string' then current = '' end
return { current, 0 }
