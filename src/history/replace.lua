-- Replaces the payloads of stored messages. Their headers stay, so that positions and the chain are as before. Idempotent.
--
-- KEYS  1 list: the messages
-- ARGV  1 the new payload; then the positions of the messages, at most some hundred, because a script blocks Redis
-- Returns the number of messages replaced. A position that is no longer kept is skipped.

local log = KEYS[1]
local count = redis.call('LLEN', log)

local function messageAt(index) return redis.call('LINDEX', log, string.format('%.0f', index)) end
local function positionIn(message) return string.match(message, '^rc1[^:]*:([%d-]+)') end
local function timeOf(position) return tonumber(string.match(position, '^%d+')) end

local replaced = 0
for i = 2, #ARGV do
  local time = timeOf(ARGV[i])
  -- The first message that is not before the position.
  local low, high = -1, count
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if timeOf(positionIn(messageAt(middle))) < time then low = middle else high = middle end
  end
  local message = high < count and messageAt(high)
  -- After a failover another message may have the time.
  if message and positionIn(message) == ARGV[i] then
    local header = string.match(message, '^[^\n]*\n')
    redis.call('LSET', log, string.format('%.0f', high), header .. ARGV[1])
    replaced = replaced + 1
  end
end
return replaced
