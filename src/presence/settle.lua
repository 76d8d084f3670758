-- Derives what is to be known of some users from their facts, writes it down, and announces what
-- changed: the only place where a status is decided. Idempotent: run twice, it changes nothing the
-- second time.
--
-- KEYS  1 nodes  2 online  3 due, then for each user: the facts (sockets hash), the record
-- ARGV  1 node that wrote facts in this transaction, or "" when none did
--       2 lease in ms
--       3 backstop TTL in ms   4 TTL of an offline user's record in ms
--       5 channel of changes   6 length of what the facts' keys begin with
--       7 "1" to take a missing record for a lost one: index, but announce nobody
--       8 statuses by priority, each between commas
--       then for each user: what his last socket's going means, in ms: 0 offline at once,
--       above 0 grace until then, -1 offline unless a grace is running
-- Returns { the node's lease as it was, or ""; its lease now, or ""; for each user his record, or false }
--
-- A fact:   node"socket = "status",connectedAt[,meta]   (all of it JSON text)
-- A record: ["status",version,lastSeen,[["socket","node","status",connectedAt,meta?],...]]

local node, lease, backstop, remembered = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local channel, skip, restoring, priorities = ARGV[5], tonumber(ARGV[6]), ARGV[7] == '1', ARGV[8]

local time = redis.call('TIME')
-- In floating point throughout: the embedded engine's whole numbers have 32 bits only.
local micros = time[1] * 1000000.0 + time[2]
local millis = (micros - micros % 1000) / 1000
local now = string.format('%.0f', millis)

-- Whoever writes facts is listed, so that nothing is written that cannot be reaped. That it also
-- renews the lease lets the node see whether its last write is still there. A claimed lease
-- (negative) stays: this node is being reaped.
local was, is = '', ''
if node ~= '' then
  was = redis.call('ZSCORE', KEYS[1], node) or ''
  is = was
  if was == '' or tonumber(was) > 0 then
    is = string.format('%.0f', millis + lease)
    redis.call('ZADD', KEYS[1], is, node)
  end
end

-- Statuses nobody ranked come after all others, in alphabetical order.
local function outranks(a, b)
  local rankA = string.find(priorities, ',' .. a .. ',', 1, true) or 1000000
  local rankB = string.find(priorities, ',' .. b .. ',', 1, true) or 1000000
  if rankA ~= rankB then return rankA < rankB end
  return a < b
end

-- The user's status and sockets. A socket that two nodes registered counts once: the later
-- connection is the one it was resumed on.
local function aggregate(facts)
  local status, texts, winners = nil, {}, {}
  for i = 1, #facts, 2 do
    local owner, socket = string.match(facts[i], '^([^"]*)"(.*)$')
    local own, since = string.match(facts[i + 1], '^"([^"]*)",(%d+)')
    local entry = { since = tonumber(since), owner = owner, status = own, value = facts[i + 1] }
    local other = winners[socket]
    if other == nil or entry.since > other.since or (entry.since == other.since and owner > other.owner) then
      winners[socket] = entry
    end
  end
  for socket, entry in pairs(winners) do
    if status == nil or outranks(entry.status, status) then status = entry.status end
    texts[#texts + 1] = '["' .. socket .. '","' .. entry.owner .. '",' .. entry.value .. ']'
  end
  if #texts > 1 then table.sort(texts) end
  return status, '[' .. table.concat(texts, ',') .. ']', #texts
end

local replies, events, arrived, departed = { was, is }, {}, {}, {}
local index = 8

for k = 4, #KEYS, 2 do
  index = index + 1
  local factsKey, recordKey = KEYS[k], KEYS[k + 1]
  local user = string.sub(factsKey, skip + 1)
  local facts = redis.call('HGETALL', factsKey)
  local record = redis.call('GET', recordKey)

  local before, version, seen, list = 'offline', 0, now, ''
  if record then
    local status, number, when, sockets = string.match(record, '^%["([^"]*)",(%d+),(%d+),(.*)%]$')
    if status then
      before, version, seen, list = status, tonumber(number), when, sockets
    end
  end

  local status, sockets, count
  if #facts > 0 then
    status, sockets, count = aggregate(facts)
    -- Only somebody without sockets can have been waited for.
    if list == '[]' then redis.call('ZREM', KEYS[3], user) end
    redis.call('PEXPIRE', factsKey, backstop)
  else
    status, sockets, count = 'offline', '[]', 0
    if before ~= 'offline' then
      local grace = tonumber(ARGV[index])
      local deadline = redis.call('ZSCORE', KEYS[3], user)
      local waiting = deadline and tonumber(deadline) > millis
      if waiting and grace ~= 0 then
        status = before
      elseif not deadline and grace > 0 then
        status = before
        redis.call('ZADD', KEYS[3], string.format('%.0f', millis + grace), user)
      elseif deadline then
        redis.call('ZREM', KEYS[3], user)
      end
    end
  end

  if status ~= before or sockets ~= list then
    if record or count > 0 then
      -- A user who was waited for was last seen when his last socket went.
      if not (status == 'offline' and list == '[]') then seen = now end
      version = math.max(version + 1, micros)
      local text = string.format('%.0f', version)
      local ttl = backstop
      if status == 'offline' then ttl = remembered end
      record = '["' .. status .. '",' .. text .. ',' .. seen .. ',' .. sockets .. ']'
      redis.call('SET', recordKey, record, 'PX', ttl)
      if status ~= before then
        if before == 'offline' then
          arrived[#arrived + 1] = '0'
          arrived[#arrived + 1] = user
        elseif status == 'offline' then
          departed[#departed + 1] = user
        end
        if list ~= '' or not restoring then
          events[#events + 1] = '["' .. user .. '","' .. status .. '","' .. before .. '",'
            .. seen .. ',' .. text .. ',' .. string.format('%.0f', count) .. ']'
        end
      end
    end
  elseif count > 0 then
    redis.call('PEXPIRE', recordKey, backstop)
  end
  replies[#replies + 1] = record
end

-- unpack() has room for some thousand arguments; a transaction is kept far below that.
if #arrived > 0 then redis.call('ZADD', KEYS[2], unpack(arrived)) end
if #departed > 0 then redis.call('ZREM', KEYS[2], unpack(departed)) end
if #events > 0 then redis.call('PUBLISH', channel, '[' .. table.concat(events, ',') .. ']') end
-- The embedded engine returns nothing for a table that grew.
return { unpack(replies) }
