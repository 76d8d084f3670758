-- Reads a page of a channel's history.
--
-- KEYS  1 stream: the messages; 2 string: the last position
-- ARGV  1 read what comes after this time of a position, in µs, or '-'; 2 and before this one, or '+';
--       3 at most this many messages; 4 and, from the second on, bytes; 5 '1': newest first
-- Returns the last position, or '0-0'; 1 if there is more, else 0; the server's run id, or '' where
-- it may not be known; then four per message: its time in µs, its nonce, its predecessor's
-- position, the payload

local log, lastKey = KEYS[1], KEYS[2]
local after, before, limit, maxBytes, reverse =
  ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
-- Large messages must not pile up in here before they are counted.
local CHUNK = 32

local function item(list, at)
  if type(list) == 'table' then return list[at] end
  return list[at - 1]
end

local function timeOf(entry) return string.match(item(entry, 1), '^%d+') end

local function shifted(micros, by) return string.format('%.0f', tonumber(micros) * 1.0 + by) end

local function page(count)
  if reverse then return redis.call('XREVRANGE', log, before, after, 'COUNT', count) end
  return redis.call('XRANGE', log, after, before, 'COUNT', count)
end

if after ~= '-' then after = shifted(after, 1) end
if before ~= '+' then before = shifted(before, -1) end

local result = { '0-0', 0, '' }
local last = redis.call('GET', lastKey)
if type(last) == 'string' then
  result[1] = last
else
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  if #newest > 0 then result[1] = timeOf(newest[1]) .. '-' .. item(item(newest[1], 2), 2) end
end

-- Another one after every restart and failover: what was acknowledged last may have been lost by either.
local info = redis.pcall('INFO', 'server')
if type(info) == 'string' then result[3] = string.match(info, 'run_id:(%x+)') or '' end

local count, bytes, more = 0, 0, true
while more do
  -- One beyond the limit tells whether there is more.
  local wanted = math.min(CHUNK, limit - count + 1)
  local entries = page(wanted)
  more = #entries == wanted
  for i = 1, #entries do
    local entry = entries[i]
    local fields = item(entry, 2)
    local payload = item(fields, 6)
    bytes = bytes + #payload
    if count == limit or (count > 0 and bytes > maxBytes) then
      result[2] = 1
      more = false
      break
    end
    count = count + 1
    local time = timeOf(entry)
    local place = #result
    result[place + 1] = time
    result[place + 2] = item(fields, 2)
    result[place + 3] = item(fields, 4)
    result[place + 4] = payload
    if reverse then before = shifted(time, -1) else after = shifted(time, 1) end
  end
end
return { unpack(result) }
