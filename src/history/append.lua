-- Appends messages to a channel's history and publishes them, as one step.
--
-- Every message gets a position that is larger than all before it, also when a failover has taken the
-- last of them: max(last + 1, the server's microseconds), and a nonce, so that two servers that both
-- took themselves for the master never give one position to two messages. It carries the position of
-- its predecessor; whoever finds another message there than the last one he knows has missed some.
--
-- KEYS  1 stream: the messages; 2 string: the last position; 3… one per idempotency key
-- ARGV  1 channel; 2 PUBLISH or SPUBLISH; 3 size, in messages; 4 ttl, in ms; 5 ttl of the last
--       position, in ms; 6 ttl of idempotency keys, in ms; 7 nonce; 8 start of the header (envelope.ts);
--       then two per message: the number of its idempotency key in KEYS, or 0; the payload
-- Returns three per message: its position; receivers; 1 if its idempotency key was known, else 0

local log, lastKey = KEYS[1], KEYS[2]
local channel, verb, size, ttl, lastTtl, onceTtl, nonce, header =
  ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7], ARGV[8]

-- The embedded engine hands lists within lists over as they are in JavaScript, counted from 0.
local function item(list, at)
  if type(list) == 'table' then return list[at] end
  return list[at - 1]
end

-- Nothing may be published that was not stored, so nothing precedes the first write that Redis could
-- refuse: a replica (READONLY) and a full server (OOM) refuse it, and the script ends there.
local last = redis.call('GET', lastKey)
if type(last) ~= 'string' then
  -- Evicted, perhaps; the newest message knows as well.
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

for i = 9, #ARGV, 2 do
  local once = tonumber(ARGV[i])
  local known = once > 0 and redis.call('GET', KEYS[once])
  if type(known) == 'string' then
    replies[#replies + 1] = known
    replies[#replies + 1] = 0
    replies[#replies + 1] = 1
  else
    at = math.max(at + 1, micros)
    local id = string.format('%.0f', at)
    local position = id .. '-' .. nonce
    redis.call('XADD', log, 'MAXLEN', size, id, 'n', nonce, 'p', last, 'm', ARGV[i + 1])
    local sent = redis.pcall(verb, channel, header .. position .. ':' .. last .. '\n' .. ARGV[i + 1])
    if type(sent) == 'table' and sent.err then
      -- No permission for the channel: nothing may be stored that was not published either.
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

-- In a busy channel the size rules, in a quiet one the ttl; in one between them what is too old goes
-- here. Not on the embedded engine, nor before Redis 6.2: there it waits for one of the others.
redis.pcall('XTRIM', log, 'MINID', string.format('%.0f', micros - ttl * 1000.0))
redis.call('PEXPIRE', log, ARGV[4])
return { unpack(replies) }
