-- Lets sockets join, update and leave rooms, and announces what that means for their users: one join
-- at a user's first socket in a room, one leave at his last. Idempotent, like settle.lua.
--
-- KEYS  1 nodes, then one hash per room
-- ARGV  1 node that joins in this transaction, or "" when none does
--       2 lease in ms   3 backstop TTL in ms
--       4 length of what the rooms' keys begin with   5 what the channels of their changes begin with
--       6 the node's lease as it knows it, 0 for none   7 the command that announces: PUBLISH or SPUBLISH
--       then for each change: number of the room in KEYS, user, node, socket, info (JSON), or "" to leave
-- Returns { the node's lease as it was, or ""; its lease now, or "" }
--
-- A room: ":" and the user = version, then a line per socket: node"socket"info. The latest one comes last; its
-- info is the user's. (The colon: the embedded engine has no fields named `constructor` and the like.)
-- JSON text contains no raw line feed, and escaped ids no double quote.

local node, lease, backstop = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local skip, prefix, known = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])

local time = redis.call('TIME')
local micros = time[1] * 1000000.0 + time[2]
local millis = (micros - micros % 1000) / 1000

-- As in settle.lua.
local was, is = '', ''
if node ~= '' then
  was = redis.call('ZSCORE', KEYS[1], node) or ''
  is = was
  if was == '' and known > 0 then
    is = '1'
    redis.call('ZADD', KEYS[1], is, node)
  elseif was == '' or (tonumber(was) > 0 and tonumber(was) >= known) then
    is = string.format('%.0f', millis + lease)
    redis.call('ZADD', KEYS[1], is, node)
  end
end

local events = {}

for i = 8, #ARGV, 5 do
  local k = tonumber(ARGV[i])
  local key, user, info = KEYS[k], ARGV[i + 1], ARGV[i + 4]
  local place = ARGV[i + 2] .. '"' .. ARGV[i + 3] .. '"'
  local field = ':' .. user
  local value = redis.call('HGET', key, field)

  local version, lines, old, shown, found = 0, {}, 0, nil, nil
  if value then
    for line in string.gmatch(value, '[^\n]+') do
      if version == 0 then
        version = tonumber(line)
      else
        old = old + 1
        shown = string.match(line, '^[^"]*"[^"]*"(.*)$')
        if string.sub(line, 1, #place) == place then
          found = shown
        else
          lines[#lines + 1] = line
        end
      end
    end
  end
  if info ~= '' then
    -- Said again, it is no change, and does not move to the end.
    if found == info then lines = nil else lines[#lines + 1] = place .. info end
  elseif not found then
    lines = nil
  end

  if lines then
    version = string.format('%.0f', math.max(version + 1, micros))
    local event
    if #lines == 0 then
      redis.call('HDEL', key, field)
      event = '"leave","' .. user .. '",' .. version .. ',' .. shown .. ',0'
    else
      redis.call('HSET', key, field, version .. '\n' .. table.concat(lines, '\n'))
      local shows = string.match(lines[#lines], '^[^"]*"[^"]*"(.*)$')
      local kind = 'update'
      if old == 0 then kind = 'join' end
      event = '"' .. kind .. '","' .. user .. '",' .. version .. ',' .. shows .. ',' .. string.format('%.0f', #lines)
    end
    events[k] = events[k] or {}
    events[k][#events[k] + 1] = '[' .. event .. ']'
  end
  redis.call('PEXPIRE', key, backstop)
end

for k, list in pairs(events) do
  redis.call(ARGV[7], prefix .. string.sub(KEYS[k], skip + 1), '[' .. table.concat(list, ',') .. ']')
end
return { was, is }
