-- Appends messages to the histories of channels and publishes them, in one atomic step.
--
-- Every position is greater than all before it, even if a failover lost the last of them: max(last + 1,
-- the server's microseconds). A nonce keeps two servers that both act as master from giving one position
-- to two messages. Each message carries its predecessor's position, so that a reader detects a gap. A
-- message is stored as it is published.
--
-- KEYS  per channel: 1 list: the messages; 2 string, separated by ':': the last position, a time before that
--       of the oldest message, the earliest time at which the list expires, the size, and the earliest time
--       at which this string expires, times in s; for a channel with idempotency keys also 3, 4 hashes:
--       positions by key, for even and odd periods
-- ARGV  1 PUBLISH or SPUBLISH; 2 size, in messages; 3 ttl, in ms; 4 ttl of the last position, in ms;
--       5 period of idempotency keys, in ms; 6 nonce, not 0; 7 start of the header (envelope.ts); 8 the
--       number of channels with one message and without idempotency keys, which come first: name,
--       payload; then per other channel: name, number of messages, 1 if it has idempotency keys, else 0,
--       and per message its key, if the channel has keys ('' for none), and its payload
-- Returns per channel the position of the first message that it appended, or ''; then for each message its
-- number of receivers (its position is one more than that of the message appended before), or the position
-- of the earlier message with its idempotency key, or '-' and an error

local KEYS, ARGV = KEYS, ARGV
local verb, size, ttl, lastTtl, period, nonce, header, singles = unpack(ARGV, 1, 8)
local call, pcall = redis.call, redis.pcall
local format, match = string.format, string.match

-- Trimming and expiries with every message would cost a fourth of Redis's time. So the list has up to a
-- sixteenth more messages, which read.lua leaves out, and from 10 s on both keys live up to an eighth longer.
local capacity = math.floor(tonumber(size) * 17 / 16)
local function prolonged(duration)
  return tonumber(duration) < 10000 and tonumber(duration) or tonumber(duration) * 9 / 8
end
local listTtl, stringTtl = prolonged(ttl), prolonged(lastTtl)
local expireAfter, expireLastAfter = format('%.0f', listTtl), format('%.0f', stringTtl)

local time = call('TIME')
local micros = time[1] * 1000000.0 + time[2]
local seconds = time[1] * 1.0
local now = format('%.0f', micros)
local commonPosition = now .. '-' .. nonce
local minimum = micros - ttl * 1000.0
-- Rounded so that no key expires too early.
local neededUntil = format('%.0f', math.ceil(seconds + 1 + ttl / 1000))
local lastNeededUntil = format('%.0f', math.ceil(seconds + 1 + lastTtl / 1000))
local expiresAt = format('%.0f', math.floor(seconds + listTtl / 1000))
local lastExpiresAt = format('%.0f', math.floor(seconds + stringTtl / 1000))
-- Compares whole numbers as texts, because parsing them is slower.
local function isBefore(a, b) return #a < #b or (#a == #b and a < b) end
local sizeField = ':' .. size .. ':'
local periodNumber = math.floor(micros / 1000 / period)

local replies, replyCount = {}, 0
local function reply(value)
  replyCount = replyCount + 1
  replies[replyCount] = value
end

local function timeAt(log, index)
  local found = match(call('LINDEX', log, format('%.0f', index)), '^rc1[^:]*:(%d+)')
  return tonumber(found)
end

-- Returns the time of the oldest message that is left. The newest one is never older than `minimum`.
local function removeOld(log, length)
  local old, kept, step = -1, 0, 1
  while kept < length - 1 and timeAt(log, kept) < minimum do
    old = kept
    kept = math.min(kept + step, length - 1)
    step = step * 2
  end
  while kept - old > 1 do
    local middle = math.floor((old + kept) / 2)
    if timeAt(log, middle) < minimum then old = middle else kept = middle end
  end
  if kept > 0 then call('LTRIM', log, format('%.0f', kept), '-1') end
  return timeAt(log, 0)
end

-- A server that refuses the first write refuses all of them, unless the type of the key is the reason. Then
-- the call fails as a whole, so that the client sees an error like READONLY.
local written = false
local function refusesAll(failure) return not written and string.sub(failure, 1, 9) ~= 'WRONGTYPE' end

-- Returns an error that ends the call, or nil. `first`: index in ARGV of the first message; `place`: index in KEYS.
local function append(place, channel, first, count, keyed)
  local log, lastKey = KEYS[place], KEYS[place + 1]
  local last, oldest, expiry, lastExpiry = '0-0', '', '', ''
  local failure
  local stored = pcall('GET', lastKey)
  if type(stored) == 'string' then
    last, oldest, expiry, lastExpiry = match(stored, '^([%d-]+):?(%d*):?(%d*):?%d*:?(%d*)')
  else
    -- If only this key was evicted, the newest message has the position.
    if type(stored) == 'table' then failure = stored.err end
    local newest = not failure and pcall('LINDEX', log, '-1')
    if type(newest) == 'table' then failure = newest.err end
    if type(newest) == 'string' then last = match(newest, '^rc1[^:]*:([%d-]+)') end
  end
  -- Times have 16 digits from 2001 to 2286, so their texts compare as they do. Number parsing is slower.
  local at = last < now and 0 or tonumber(match(last, '^%d+'))
  local appended, length = 0, 0
  reply('')
  local summary = replyCount

  local step = keyed and 2 or 1
  for i = first, first + (count - 1) * step, step do
    local key = keyed and ARGV[i] or ''
    local payload = ARGV[keyed and i + 1 or i]
    local known
    if key ~= '' and not failure then
      for hash = place + 2, place + 3 do
        known = known or call('HGET', KEYS[hash], key)
      end
    end
    if type(known) == 'string' then
      reply(known)
    elseif failure then
      reply('-' .. failure)
    else
      local position = commonPosition
      local before = at
      if at < micros then
        at = micros
      else
        at = at + 1
        position = format('%.0f', at) .. '-' .. nonce
      end
      local message = header .. position .. ':' .. last .. '\n' .. payload
      -- An unstored message must not be published. So the first write is one that Redis can refuse: on a
      -- replica (READONLY) or a full server (OOM) nothing has happened yet.
      local pushed = pcall('RPUSH', log, message)
      if type(pushed) == 'table' then
        failure = pushed.err
        if refusesAll(failure) then return pushed end
        reply('-' .. failure)
      else
        local sent = pcall(verb, channel, message)
        if type(sent) == 'table' then
          -- No permission for the channel: an unpublished message must not be stored.
          call('RPOP', log)
          failure = sent.err
          at = before
          reply('-' .. failure)
        else
          written = true
          if appended == 0 then replies[summary] = position end
          if key ~= '' then
            local hash = KEYS[place + 2 + periodNumber % 2]
            call('HSET', hash, key, position)
            call('PEXPIREAT', hash, format('%.0f', (periodNumber + 2) * period))
          end
          appended = appended + 1
          length = pushed
          last = position
          reply(sent)
        end
      end
    end
  end

  if appended == 0 then
    -- Only known keys: a server that refuses writes must not confirm them.
    local refused = not failure and pcall('PEXPIRE', log, expireAfter)
    return type(refused) == 'table' and refused or nil
  end
  if length == appended then
    oldest, expiry = format('%.0f', seconds), ''
  elseif oldest == '' or tonumber(oldest) * 1000000 < minimum then
    oldest = format('%.0f', math.floor(removeOld(log, length) / 1000000))
  end
  if length > capacity then call('LTRIM', log, '-' .. size, '-1') end
  if isBefore(expiry, neededUntil) then
    call('PEXPIRE', log, expireAfter)
    expiry = expiresAt
  end
  local fields = last .. ':' .. oldest .. ':' .. expiry .. sizeField
  if isBefore(lastExpiry, lastNeededUntil) then
    call('SET', lastKey, fields .. lastExpiresAt, 'PX', expireLastAfter)
  else
    call('SET', lastKey, fields .. lastExpiry, 'KEEPTTL')
  end
end

local place, argument = 1, 9
for _ = 1, tonumber(singles) do
  local failure = append(place, ARGV[argument], argument + 1, 1, false)
  if failure then return failure end
  place = place + 2
  argument = argument + 2
end
while argument <= #ARGV do
  local count, keyed = tonumber(ARGV[argument + 1]), ARGV[argument + 2] == '1'
  local failure = append(place, ARGV[argument], argument + 3, count, keyed)
  if failure then return failure end
  place = place + (keyed and 4 or 2)
  argument = argument + 3 + count * (keyed and 2 or 1)
end
return { unpack(replies) }
