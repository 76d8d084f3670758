-- Reads a page of the history of each of some channels.
--
-- KEYS  for each channel: the list of its messages; the string of its last position (append.lua)
-- ARGV  1 '1': identify the server; 2 the maximum number of bytes: once the pages have more, the rest is not read
--       then for each channel:
--       1 only messages after this time of a position, in µs, or '-'; 2 and before this one, or '+';
--       3 the maximum number of messages; 4 and, from the second on, of bytes; 5 '1': newest first;
--       6 on a channel without a position, create one with this TTL, in ms, or '0'
-- Returns the server's run id, replication id and previous replication id, joined by ':', or '' if not requested
-- or not permitted; then for each channel that was read, the first one always: the last position, or '0-0'; 1 if
-- there is more, else 0; then the messages as they were published, with their header

-- Messages per LRANGE: few at first, so that no more large messages than needed are copied.
local MAX_CHUNK = 32

local function timeAt(log, index)
  local message = redis.call('LINDEX', log, string.format('%.0f', index))
  return tonumber(string.match(message, '^rc1[^:]*:(%d+)'))
end

-- Index of the first message after `micros`. Readers are mostly near the end, so the search begins there.
local function firstAfter(log, count, micros)
  local low, high, step = count - 1, count, 1
  while low >= 0 and timeAt(log, low) > micros do
    high = low
    low = math.max(low - step, -1)
    step = step * 2
  end
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    if timeAt(log, middle) > micros then high = middle else low = middle end
  end
  return high
end

local function readPage(log, lastKey, after, before, limit, maxBytes, reverse, originTtl)
  local page = { '0-0', 0 }
  local size
  local last = redis.call('GET', lastKey)
  if type(last) == 'string' then
    page[1] = string.match(last, '^[%d-]+')
    size = tonumber(string.match(last, '^[^:]*:[^:]*:[^:]*:(%d+)') or '')
  else
    local newest = redis.call('LINDEX', log, '-1')
    if type(newest) == 'string' then
      page[1] = string.match(newest, '^rc1[^:]*:([%d-]+)')
    elseif originTtl ~= '0' then
      -- Without a position, an empty channel looks like a wiped one. The nonce 0 marks a position before the
      -- first message. If the server refuses (replica, memory, permission), the channel stays without one.
      local time = redis.call('TIME')
      local origin = string.format('%.0f', time[1] * 1000000.0 + time[2]) .. '-0'
      local set = redis.pcall('SET', lastKey, origin, 'PX', originTtl)
      if not (type(set) == 'table' and set.err) then page[1] = origin end
    end
  end

  local count = redis.call('LLEN', log)
  -- append.lua trims later. A message beyond the size is not kept.
  local oldest = size and math.max(count - size, 0) or 0
  local from, to = oldest, count - 1
  -- Most readers are at the last position: then no message is looked at.
  if after ~= '-' and page[1] ~= '0-0' and tonumber(string.match(page[1], '^%d+')) <= tonumber(after) then
    from = count
  elseif after ~= '-' then
    from = math.max(firstAfter(log, count, tonumber(after)), oldest)
  end
  if before ~= '+' then to = firstAfter(log, count, tonumber(before) - 1) - 1 end

  if limit == 0 and from <= to then page[2] = 1 end
  local found, bytes, chunk = 0, 0, 4
  while from <= to and page[2] == 0 do
    -- One message more shows whether there is more.
    local wanted = math.min(chunk, limit - found + 1, to - from + 1)
    local start = reverse and to - wanted + 1 or from
    local messages = redis.call('LRANGE', log, string.format('%.0f', start), string.format('%.0f', start + wanted - 1))
    for i = 1, wanted do
      local message = messages[reverse and wanted + 1 - i or i]
      bytes = bytes + #message - string.find(message, '\n', 1, true)
      if found == limit or (found > 0 and bytes > maxBytes) then
        page[2] = 1
        break
      end
      found = found + 1
      page[#page + 1] = message
    end
    if reverse then to = to - wanted else from = from + wanted end
    chunk = math.max(1, math.min(MAX_CHUNK, math.ceil((maxBytes - bytes + 1) * found / (bytes + 1))))
  end
  -- The embedded Redis replies with tables of this form only.
  return { unpack(page) }, bytes
end

local result = { '' }

-- The run id changes with a restart, the replication id with a failover; either may lose the last
-- acknowledged messages.
if ARGV[1] == '1' then
  local server = redis.pcall('INFO', 'server')
  local replication = redis.pcall('INFO', 'replication')
  if type(server) == 'string' and type(replication) == 'string' then
    local run = string.match(server, 'run_id:(%x+)')
    if run then
      result[1] = run
        .. ':'
        .. (string.match(replication, 'master_replid:(%x+)') or '')
        .. ':'
        .. (string.match(replication, 'master_replid2:(%x+)') or '')
    end
  end
end

local total, maxTotal = 0, tonumber(ARGV[2])
for k = 1, #KEYS, 2 do
  if total > maxTotal then break end
  local a = 3 * k
  local page, bytes = readPage(
    KEYS[k],
    KEYS[k + 1],
    ARGV[a],
    ARGV[a + 1],
    tonumber(ARGV[a + 2]),
    tonumber(ARGV[a + 3]),
    ARGV[a + 4] == '1',
    ARGV[a + 5]
  )
  result[#result + 1] = page
  total = total + bytes
end
return { unpack(result) }
