-- Appends messages to a channel's history and publishes them, in one atomic step.
--
-- Every position is greater than all before it, even if a failover lost the last of them: max(last + 1,
-- the server's microseconds). A nonce keeps two servers that both act as master from giving one position
-- to two messages. Each message carries its predecessor's position, so that a reader detects a gap.
--
-- KEYS  1 stream: the messages; 2 string: the last position; 3… one per idempotency key
-- ARGV  1 channel; 2 PUBLISH or SPUBLISH; 3 size, in messages; 4 ttl, in ms; 5 ttl of the last
--       position, in ms; 6 ttl of idempotency keys, in ms; 7 nonce, not 0; 8 start of the header
--       (envelope.ts); then two per message: the index of its idempotency key in KEYS, or 0; the payload
-- Returns three per message: its position; receivers; 1 if its idempotency key was known, else 0

local log, lastKey = KEYS[1], KEYS[2]
local channel, verb, size, ttl, lastTtl, onceTtl, nonce, header =
  ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7], ARGV[8]

-- The embedded engine passes nested lists as JavaScript arrays, indexed from 0.
local function item(list, at)
  if type(list) == 'table' then return list[at] end
  return list[at - 1]
end

local function failed(reply) return type(reply) == 'table' and reply.err end

-- An unstored message must not be published. So the first write is one that Redis can refuse: on a replica
-- (READONLY) or a full server (OOM) the script ends there.
local last = redis.call('GET', lastKey)
if type(last) ~= 'string' then
  -- If only this key was evicted, the newest message has the position.
  last = '0-0'
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  if #newest > 0 then
    local fields = item(newest[1], 2)
    last = string.match(item(newest[1], 1), '^%d+') .. '-' .. item(fields, 2)
  end
end

local time = redis.call('TIME')
local micros = time[1] * 1000000.0 + time[2]
local at = tonumber(string.match(last, '^%d+')) * 1.0
local replies = {}

local function add(payload)
  return redis.pcall('XADD', log, 'MAXLEN', size, string.format('%.0f', at), 'n', nonce, 'p', last, 'm', payload)
end

-- An empty stream keeps its last id. After the clock steps back, that can be later than the clock and the
-- last position.
local function skipLastId()
  local info = redis.pcall('XINFO', 'STREAM', log)
  if type(info) ~= 'table' or info.err then return false end
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      at = tonumber(string.match(info[i + 1], '^%d+')) + 1.0
      return true
    end
  end
  return false
end

for i = 9, #ARGV, 2 do
  local once = tonumber(ARGV[i])
  local known = once > 0 and redis.call('GET', KEYS[once])
  if type(known) == 'string' then
    replies[#replies + 1] = known
    replies[#replies + 1] = 0
    replies[#replies + 1] = 1
  else
    at = math.max(at + 1, micros)
    local added = add(ARGV[i + 1])
    if failed(added) and string.find(added.err, 'equal or smaller', 1, true) and skipLastId() then
      added = add(ARGV[i + 1])
    end
    if failed(added) then return added end
    local id = string.format('%.0f', at)
    local position = id .. '-' .. nonce
    local sent = redis.pcall(verb, channel, header .. position .. ':' .. last .. '\n' .. ARGV[i + 1])
    if failed(sent) then
      -- No permission for the channel: an unpublished message must not be stored.
      redis.call('XDEL', log, id)
      return sent
    end
    redis.call('SET', lastKey, position, 'PX', lastTtl)
    if once > 0 then redis.call('SET', KEYS[once], position, 'PX', onceTtl) end
    replies[#replies + 1] = position
    replies[#replies + 1] = sent
    replies[#replies + 1] = 0
    last = position
  end
end

-- `size` limits a busy channel, the key's ttl a quiet one. This removes old messages in between; not on the
-- embedded engine, nor before Redis 6.2.
redis.pcall('XTRIM', log, 'MINID', string.format('%.0f', micros - ttl * 1000.0))
redis.call('PEXPIRE', log, ARGV[4])
return { unpack(replies) }
