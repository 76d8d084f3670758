-- Reads a page of a channel's history.
--
-- KEYS  1 stream: the messages; 2 string: the last position
-- ARGV  1 only messages after this time of a position, in µs, or '-'; 2 and before this one, or '+';
--       3 the maximum number of messages; 4 and, from the second on, of bytes; 5 '1': newest first;
--       6 '1': identify the server; 7 on a channel without a position, create one with this TTL, in
--       ms, or '0'
-- Returns the last position, or '0-0'; 1 if there is more, else 0; the server's run id, replication id
-- and previous replication id, joined by ':', or '' if not requested or not permitted; then four per
-- message: its time in µs, its nonce, its predecessor's position, the payload

local log, lastKey = KEYS[1], KEYS[2]
local after, before, limit, maxBytes, reverse, identify, originTtl =
  ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6] == '1', ARGV[7]
-- Limits the large messages in memory before they are counted.
local CHUNK = 32

-- The embedded engine passes nested lists as JavaScript arrays, indexed from 0.
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

local result = { '0-0', 0, '' }
local last = redis.call('GET', lastKey)
if type(last) == 'string' then
  result[1] = last
else
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  if #newest > 0 then
    result[1] = timeOf(newest[1]) .. '-' .. item(item(newest[1], 2), 2)
  elseif originTtl ~= '0' then
    -- Without a position, an empty channel looks like a wiped one. The nonce 0 marks a position before the
    -- first message. If the server refuses (replica, memory, permission), the channel stays without one.
    local time = redis.call('TIME')
    local origin = string.format('%.0f', time[1] * 1000000.0 + time[2]) .. '-0'
    local set = redis.pcall('SET', lastKey, origin, 'PX', originTtl)
    if not (type(set) == 'table' and set.err) then result[1] = origin end
  end
end

-- The run id changes with a restart, the replication id with a failover; either may lose the last
-- acknowledged messages.
if identify then
  local server = redis.pcall('INFO', 'server')
  local replication = redis.pcall('INFO', 'replication')
  if type(server) == 'string' and type(replication) == 'string' then
    local run = string.match(server, 'run_id:(%x+)')
    if run then
      result[3] = run
        .. ':'
        .. (string.match(replication, 'master_replid:(%x+)') or '')
        .. ':'
        .. (string.match(replication, 'master_replid2:(%x+)') or '')
    end
  end
end

-- No message is before time 0, and XRANGE has no smaller id.
if before ~= '+' and tonumber(before) == 0 then return { unpack(result) } end
if after ~= '-' then after = shifted(after, 1) end
if before ~= '+' then before = shifted(before, -1) end

local count, bytes, more = 0, 0, true
while more do
  -- One message more shows whether there is more.
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
