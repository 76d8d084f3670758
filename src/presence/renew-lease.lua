-- Renews a node's lease, and refreshes the TTLs of keys that contain its entries. Reports entries that are missing although
-- no node removed them: keys are evicted one by one, and other nodes may have written a shared key since.
--
-- KEYS  1 nodes   2 owner set of the node   3 online   4 record of the user in 8
--       then for each item: a user's hash and record, or a room
-- ARGV  1 node   2 lease in ms   3 TTL in ms of users and rooms   4 TTL in ms of the owner set and the index
--       5 the lease as last seen by the node   6 how many of the items are users; rooms follow
--       7 the socket that the node added to its owner set before all other sockets, or ""   8 its user, or ""
--       9 the room that it added before all other rooms, as a member of the owner set, or ""
--       then for each user: field of the node's entry, user; for each room: field of a member, the node's line in it
-- Returns { the lease before, or "" if the node was not listed; the lease after, or "" if it is lost;
--           then, unless it is lost or older than the one known: "1" if the owner set or the index has lost members,
--           else ""; the number of each item with a missing entry }
--
-- A lease that is gone (reaped, wiped) or claimed by a reaper (negative) is not renewed, because some of the
-- node's entries may be removed already. The node continues under a new id.

local call = redis.call
local score = call('ZSCORE', KEYS[1], ARGV[1])
if not score then return { '', '' } end
if tonumber(score) < 0 then return { score, '' } end
-- The lease is older than the one the node knows: writes were lost. It stays so until the node has received this reply.
if tonumber(score) < tonumber(ARGV[5]) then return { score, score } end

local time = call('TIME')
local lease = string.format('%.3f', time[1] * 1000.0 + time[2] / 1000 + tonumber(ARGV[2]))
call('ZADD', KEYS[1], lease, ARGV[1])

local keyTtl, users = ARGV[3], tonumber(ARGV[6])
call('PEXPIRE', KEYS[2], ARGV[4])
call('PEXPIRE', KEYS[3], ARGV[4])

-- A key that was lost contains what was written since, if anything: whether it was lost shows in its oldest member.
local lost = ''
-- Of sockets and of rooms: a socket that was written again does not bring back the rooms.
for i = 7, 9, 2 do
  if ARGV[i] ~= '' and call('SISMEMBER', KEYS[2], ARGV[i]) == 0 then lost = '1' end
end
if ARGV[8] ~= '' and call('SISMEMBER', KEYS[3], ARGV[8]) == 0 then
  local record = call('GET', KEYS[4])
  if record and string.sub(record, 1, 9) ~= '2offline"' then lost = '1' end
end

local replies, found, key, argument, item = { score, lease, lost }, 3, 5, 10, 0
while key <= #KEYS do
  item = item + 1
  local complete
  if item <= users then
    local field, user = ARGV[argument], ARGV[argument + 1]
    complete = call('HEXISTS', KEYS[key], field) == 1
      and call('PEXPIRE', KEYS[key], keyTtl) == 1
      and call('PEXPIRE', KEYS[key + 1], keyTtl) == 1
      -- Not in the index while invisible: the node then writes the entry again, which changes nothing.
      and call('SISMEMBER', KEYS[3], user) == 1
    key = key + 2
  else
    local value = call('HGET', KEYS[key], ARGV[argument])
    complete = value and string.find(value, '\n' .. ARGV[argument + 1], 1, true) and call('PEXPIRE', KEYS[key], keyTtl) == 1
    key = key + 1
  end
  argument = argument + 2
  if not complete then
    found = found + 1
    replies[found] = item
  end
end
-- ioredis-mock returns nothing for a table that has grown.
return { unpack(replies) }
