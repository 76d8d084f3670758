-- Lets sockets join, update and leave rooms, and publishes the changes of their users: one join for a user's
-- first socket in a room, one leave for their last, after its grace if it has one. Idempotent, like update-users.lua.
--
-- KEYS  1 nodes, then one hash per room
-- ARGV  1 node whose lease is renewed, or "" for none
--       2 lease in ms   3 key TTL in ms
--       4 length of the common beginning of the room keys   5 beginning of the channels of their changes
--       6 the node's lease as last seen by it, 0 for none   7 publishing command: PUBLISH or SPUBLISH
--       then for each write: index of the room in KEYS, user, node, socket, and one of
--         info (JSON); before it "~", a grace in ms and a double quote, if the socket has a grace
--         "": the socket leaves at once, and a grace of the user ends
--         "~" and a duration in ms: the socket leaves with its grace, if it has one, but at least with this duration
--       or index of the room, user, "", "" at the end, and before it
--         "due": a grace ends whose time has come
--         "end": a grace ends now; also, sockets that are in the room have none from now on
-- Returns { the node's lease before, or ""; its lease after, or "" }
--
-- Field of a room, format 2: ":" user = "2" version, then a line per socket: node"socket"info. The latest socket is the
-- last line; its info, without a grace, is the user's. (The colon is there because ioredis-mock has no fields with names
-- like `constructor`.) JSON text contains no raw line feed, and escaped ids contain no double quote.
--
-- During a grace the only line is "deadline,duration"info, in ms and without a node. The line counts as a socket, because
-- others do not learn that the last socket has gone. User and room are then in the sorted set PartitionKeys.due, which is not
-- in KEYS, because most writes do not need it.

local node, lease, keyTtl = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local skip, prefix, known = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])

local time = redis.call('TIME')
local micros = time[1] * 1000000.0 + time[2]
local millis = (micros - micros % 1000) / 1000

-- As in update-users.lua.
local was, is = '', ''
if node ~= '' then
  was = redis.call('ZSCORE', KEYS[1], node) or ''
  is = was
  if was == '' and known > 0 then
    is = '1'
    redis.call('ZADD', KEYS[1], is, node)
  elseif was == '' or (tonumber(was) > 0 and tonumber(was) >= known) then
    is = string.format('%.3f', micros / 1000 + lease)
    redis.call('ZADD', KEYS[1], is, node)
  end
end

local due = string.sub(KEYS[1], 1, -#'nodes' - 1) .. 'due'

local function withoutGrace(info)
  return (string.gsub(info, '^~%d+"', ''))
end

local events, written = {}, {}

for i = 8, #ARGV, 5 do
  local k = tonumber(ARGV[i])
  local key, user, info = KEYS[k], ARGV[i + 1], ARGV[i + 4]
  local entry = ARGV[i + 2] .. '"' .. ARGV[i + 3] .. '"'
  local field = ':' .. user
  local value = redis.call('HGET', key, field)

  local version, lines, old, shown, found = 0, {}, 0, nil, nil
  local deadline, duration, graceInfo
  if value then
    local number, rest = string.match(value, '^2(%d+)(.*)$')
    version = tonumber(number or 0)
    for line in string.gmatch(rest or '', '[^\n]+') do
      old = old + 1
      shown = string.match(line, '^[^"]*"[^"]*"(.*)$')
      if string.sub(line, 1, 1) == '"' then
        local ends, length = string.match(line, '^"(%d+),(%d+)"')
        deadline, duration, graceInfo = tonumber(ends), tonumber(length), shown
      elseif string.sub(line, 1, #entry) == entry then
        found = shown
      else
        lines[#lines + 1] = line
      end
    end
  end
  -- Deadline, duration and info of the grace that the user has from now on.
  local waits
  -- Others see what they saw before.
  local silent = false
  if ARGV[i + 2] == '' then
    if deadline and ARGV[i + 3] == 'due' and deadline - millis > duration then
      -- Longer than it can be: the clock stepped back.
      waits = { millis + duration, duration, graceInfo }
    elseif deadline and ARGV[i + 3] == 'due' and deadline > millis then
      waits = { deadline, duration, graceInfo }
    elseif not deadline and ARGV[i + 3] == 'due' then
      redis.call('ZREM', due, user .. '"' .. string.sub(key, skip + 1))
      lines = nil
    elseif not deadline then
      -- The node that removes these sockets later finds no grace, also when their process has died.
      silent = #lines > 0
      for at, line in ipairs(lines) do lines[at] = string.gsub(line, '^([^"]*"[^"]*")~%d+"', '%1') end
      if not silent then lines = nil end
    end
  elseif string.find(info, '^~%d+$') then
    if not found then
      lines = nil
    elseif #lines == 0 and string.sub(found, 1, 1) == '~' then
      local length = math.max(tonumber(string.match(found, '^~(%d+)')), tonumber(string.sub(info, 2)))
      waits = { millis + length, length, withoutGrace(found) }
    end
  elseif info ~= '' then
    -- The same info again is no change; the line does not move to the end.
    if found == info then lines = nil else lines[#lines + 1] = entry .. info end
    silent = graceInfo == withoutGrace(info)
  elseif not found and not deadline then
    lines = nil
  end

  if waits then
    local ends = string.format('%.0f', waits[1])
    lines[1] = '"' .. ends .. ',' .. string.format('%.0f', waits[2]) .. '"' .. waits[3]
    silent = true
    redis.call('ZADD', due, ends, user .. '"' .. string.sub(key, skip + 1))
  elseif lines and deadline then
    redis.call('ZREM', due, user .. '"' .. string.sub(key, skip + 1))
  end

  if lines and silent then
    redis.call('HSET', key, field, '2' .. string.format('%.0f', version) .. '\n' .. table.concat(lines, '\n'))
  elseif lines then
    version = string.format('%.0f', math.max(version + 1, micros))
    local event
    if #lines == 0 then
      redis.call('HDEL', key, field)
      event = '"leave","' .. user .. '",' .. version .. ',' .. withoutGrace(shown) .. ',0'
    else
      redis.call('HSET', key, field, '2' .. version .. '\n' .. table.concat(lines, '\n'))
      local shows = withoutGrace(string.match(lines[#lines], '^[^"]*"[^"]*"(.*)$'))
      local kind = 'update'
      if old == 0 then kind = 'join' end
      event = '"' .. kind .. '","' .. user .. '",' .. version .. ',' .. shows .. ',' .. string.format('%.0f', #lines)
    end
    events[k] = events[k] or {}
    events[k][#events[k] + 1] = '[' .. event .. ']'
  end
  written[k] = true
end

for k in pairs(written) do redis.call('PEXPIRE', KEYS[k], keyTtl) end
for k, list in pairs(events) do
  redis.call(ARGV[7], prefix .. string.sub(KEYS[k], skip + 1), '[' .. table.concat(list, ',') .. ']')
end
return { was, is }
