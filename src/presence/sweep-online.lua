-- Looks for members of the online index without a record, as after an eviction, or when all processes were down until the
-- records had expired; and for users something of whom ends at a time that is not in `due`, because Redis lost it.
--
-- KEYS  1 online   2 due
-- ARGV  1 cursor of SSCAN   2 its COUNT   3 common beginning of the records' keys
-- Returns { next cursor, { user, ... } }
--
-- The records' keys are not in KEYS, because only the index names them. They have the hash tag of KEYS[1].

local call, find, match = redis.call, string.find, string.match

-- See update-users.lua: a user without sockets is in their grace; a line of a socket without a process has no node.
local function hasEnd(record)
  if not find(record, '\n', 1, true) or find(record, '\n[^"]*"%*"') then return true end
  local ends = match(record, '^3[^\n]-"s[^"\n]*"(%d+)')
  return ends and ends ~= '0'
end

local reply = call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local found = {}
for _, user in ipairs(reply[2]) do
  local record = call('GET', ARGV[3] .. user)
  if not record or (hasEnd(record) and not call('ZSCORE', KEYS[2], user)) then found[#found + 1] = user end
end
return { reply[1], found }
