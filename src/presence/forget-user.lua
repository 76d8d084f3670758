-- Removes what is left of a user without sockets: the record, their own status, the mark of a hidden lastSeen, a grace, and
-- removals that all owners of sockets must have heard of. Idempotent.
--
-- KEYS  1 hash of entries   2 record   3 online   4 due   5 list of changes
-- ARGV  1 user   2 in ms: younger removals stay   3 "1" to remove, "" to look only
-- Returns { number of sockets, number of removals that stay, 1 if there is a record, 1 if there is an own status or the mark }
-- Nothing is removed while there is a socket: it was registered later.

local entries = redis.call('HGETALL', KEYS[1])
local time = redis.call('TIME')
local micros = time[1] * 1000000.0 + time[2]
local millis = (micros - micros % 1000) / 1000

-- Times of removals, as in update-users.lua.
local function isLater(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

local function toBase36(number)
  local text = ''
  repeat
    local digit = number % 36
    text = string.sub('0123456789abcdefghijklmnopqrstuvwxyz', digit + 1, digit + 1) .. text
    number = (number - digit) / 36
  until number == 0
  return text
end

local limit = toBase36(millis - tonumber(ARGV[2]))
local sockets, kept, own = 0, 0, 0
local fields = {}
for i = 1, #entries, 2 do
  local field = entries[i]
  if string.sub(field, 1, 1) ~= '"' then
    sockets = sockets + 1
  elseif string.sub(field, 1, 9) == '"removed"' then
    if isLater(string.match(entries[i + 1], '^[^"]*'), limit) then
      kept = kept + 1
    else
      fields[#fields + 1] = field
    end
  else
    if field == '"status' or field == '"seen' then own = 1 end
    fields[#fields + 1] = field
  end
end
local found = redis.call('EXISTS', KEYS[2])
if ARGV[3] == '1' and sockets == 0 then
  if #fields > 0 then redis.call('HDEL', KEYS[1], unpack(fields)) end
  redis.call('SREM', KEYS[3], ARGV[1])
  redis.call('ZREM', KEYS[4], ARGV[1])
  if found == 1 then
    redis.call('DEL', KEYS[2])
    -- Lookup caches forget the record.
    redis.call('RPUSHX', KEYS[5], string.format('%.0f', micros) .. '""\n' .. ARGV[1])
  end
end
return { sockets, kept, found, own }
