-- Derives what is to be known of some users from their facts, writes it down, and announces what
-- changed: the only place where a status is decided. Idempotent: run twice, it changes nothing the
-- second time.
--
-- KEYS  1 nodes  2 online  3 due  4 the node's set of pairs, then for each user: the facts, the record
-- ARGV  1 node whose facts are written here
--       2 lease in ms, 0 to leave its lease alone: nothing it answers for changes
--       3 backstop TTL in ms   4 TTL of an offline user's record in ms
--       5 channel of changes   6 length of what the facts' keys begin with
--       7 "1" to take a missing record for a lost one: the change says that nothing changed
--       8 statuses by priority, each between commas
--       9 the node's lease as it knows it, 0 for none
--       10 the command that announces, PUBLISH or SPUBLISH
--       11 three lines for each user, and for each more of his facts; they end with line feeds, which
--          neither ids nor JSON text contain:
--          why he is looked at, empty in further facts of the same user: 0 or above, for how many ms he is
--          waited for if his last socket has gone; -1 some time of his has come; -2 he was active; -3 his
--          last socket has gone, and no record was found: he is offline, and nobody knows yet
--          a socket of the node whose fact changes, or nothing
--          what its fact is now, or nothing: it is removed
-- Returns { the node's lease as it was, or ""; its lease now, or ""; for each user his record, or false }
--
-- Facts:    node"socket = "status",connectedAt[,meta]   one per socket
--           "status = "status",until                    the person's own status; until 0: for good
--           "grace = deadline                           he has no socket and is waited for
-- A record: ["status",version,lastSeen,[socket,...]], where he is invisible followed by the sockets
--           he really has: ["offline",version,lastSeen,[],[socket,...]]
-- A socket: ["socket","node","status",connectedAt,meta?]

local node, lease, backstop, remembered = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local channel, skip, restoring, priorities = ARGV[5], tonumber(ARGV[6]), ARGV[7] == '1', ARGV[8]
local known = tonumber(ARGV[9])
local longest = backstop
if tonumber(remembered) > tonumber(backstop) then longest = remembered end

-- Most of the time this script takes goes into its own text, not into the commands: functions and
-- numbers used for every user are looked up and formatted once.
local call, find, sub, match, gmatch, format = redis.call, string.find, string.sub, string.match, string.gmatch, string.format
local tonumber, type = tonumber, type

local time = call('TIME')
-- In floating point throughout: the embedded engine's whole numbers have 32 bits only.
local micros = time[1] * 1000000.0 + time[2]
local millis = (micros - micros % 1000) / 1000
local now, nowMicros = format('%.0f', millis), format('%.0f', micros)

-- Whoever writes facts is listed, so that nothing is written that cannot be reaped. That it also
-- renews the lease lets the node see whether its last write is still there. A lease that shows a loss
-- is not renewed, so that it goes on showing it until the node has got the message: claimed (negative),
-- older than the one known, or gone, in which case one long expired takes its place.
local was, is = '', ''
if lease > 0 then
  was = call('ZSCORE', KEYS[1], node) or ''
  is = was
  if was == '' and known > 0 then
    is = '1'
    call('ZADD', KEYS[1], is, node)
  elseif was == '' or (tonumber(was) > 0 and tonumber(was) >= known) then
    is = format('%.0f', millis + lease)
    call('ZADD', KEYS[1], is, node)
  end
end

-- Statuses nobody ranked come after all others, in alphabetical order.
local function outranks(a, b)
  local rankA = find(priorities, ',' .. a .. ',', 1, true) or 1000000
  local rankB = find(priorities, ',' .. b .. ',', 1, true) or 1000000
  if rankA ~= rankB then return rankA < rankB end
  return a < b
end

-- What the facts say: status, sockets and their count, the person's own status and its end, the
-- deadline of a grace. A socket that two nodes registered counts once: the later connection is the
-- one it was resumed on.
local function read(facts)
  -- One socket and nothing else, as nearly all have.
  if #facts == 2 then
    local field, value = facts[1], facts[2]
    local quote = find(field, '"', 1, true)
    if quote > 1 then
      local text = '[["' .. sub(field, quote + 1) .. '","' .. sub(field, 1, quote - 1) .. '",' .. value .. ']]'
      return sub(value, 2, find(value, '"', 2, true) - 1), text, 1, nil, 0, nil
    end
  end
  local status, texts, winners = nil, {}, {}
  local own, till, deadline = nil, 0, nil
  for i = 1, #facts, 2 do
    local owner, socket = match(facts[i], '^([^"]*)"(.*)$')
    if owner == '' and socket == 'grace' then
      deadline = tonumber(facts[i + 1])
    else
      local word, number = match(facts[i + 1], '^"([^"]*)",(%d+)')
      if owner == '' then
        own, till = word, tonumber(number)
      else
        local entry = { since = tonumber(number), owner = owner, status = word, value = facts[i + 1] }
        local other = winners[socket]
        if other == nil or entry.since > other.since or (entry.since == other.since and owner > other.owner) then
          winners[socket] = entry
        end
      end
    end
  end
  for socket, entry in pairs(winners) do
    if status == nil or outranks(entry.status, status) then status = entry.status end
    texts[#texts + 1] = '["' .. socket .. '","' .. entry.owner .. '",' .. entry.value .. ']'
  end
  if #texts > 1 then table.sort(texts) end
  return status, '[' .. table.concat(texts, ',') .. ']', #texts, own, till, deadline
end

local users, reasons, recordKeys, n = {}, {}, {}, 0
local changes, last, added, removed = {}, 0, {}, {}
local mine = node .. '"'
for why, socket, value in gmatch(ARGV[11], '([^\n]*)\n([^\n]*)\n([^\n]*)\n') do
  if why ~= '' then
    n = n + 1
    users[n], reasons[n], recordKeys[n] = sub(KEYS[2 * n + 3], skip + 1), tonumber(why), KEYS[2 * n + 4]
  end
  if socket ~= '' then
    changes[last + 1], changes[last + 2], changes[last + 3] = KEYS[2 * n + 3], mine .. socket, value
    last = last + 3
    local owned = value == '' and removed or added
    owned[#owned + 1] = users[n] .. '"' .. socket
  end
end

-- A key of another type ends the script, and whatever fact is there by then must be one that is reaped: its
-- pair comes before it and goes after it.
-- unpack() has room for some thousand arguments; a transaction is kept far below that.
if #added > 0 then
  call('SADD', KEYS[4], unpack(added))
  call('PEXPIRE', KEYS[4], backstop)
end
-- Users of whom a socket entry was really removed.
local hadSocket = {}
for at = 1, last, 3 do
  if changes[at + 2] == '' then
    if tonumber(call('HDEL', changes[at], changes[at + 1])) > 0 then hadSocket[changes[at]] = true end
  else
    call('HSET', changes[at], changes[at + 1], changes[at + 2])
  end
end
if #removed > 0 then call('SREM', KEYS[4], unpack(removed)) end

local replies, events, arrived, departed = { was, is }, {}, {}, {}

-- All records at once: a call for each would cost more than reading them does.
local records = n > 0 and call('MGET', unpack(recordKeys)) or {}

-- All facts before any record is written: a key of another type ends the script, and what was written
-- by then would never be indexed nor announced.
local all = {}
for k = 1, n do all[k] = call('HGETALL', KEYS[2 * k + 3]) end

for k = 1, n do
  local factsKey, recordKey, user, why = KEYS[2 * k + 3], recordKeys[k], users[k], reasons[k]
  local status, sockets, count, own, till, deadline = read(all[k])
  -- What is missing is false, and something of its own on the embedded engine.
  local record = records[k]
  if type(record) ~= 'string' then record = false end

  local before, version, seen, rest = 'offline', 0, now, ''
  if record then
    local word, number, when, tail = match(record, '^%["([^"]*)",(%d+),(%d+),(.*)%]$')
    if word then
      before, version, seen, rest = word, tonumber(number), when, tail
    end
  end
  -- Damaged, or of another release: the status before is unknown. A user who had a socket or a grace was there.
  local unreadable = record and rest == ''
  if unreadable and count == 0 and (deadline or hadSocket[factsKey]) then before = 'online' end

  -- Redis lost what he was; that he was there is all that is known.
  local lost = why == -3 and count == 0 and not record
  if lost then before = 'online' end

  -- What has an end, and when the user is to be looked at again for it.
  local watched = why == -1 or deadline ~= nil or till > 0
  if own and till > 0 and till <= millis then
    call('HDEL', factsKey, '"status')
    own, till = nil, 0
  end
  local waiting = false
  if count == 0 and before ~= 'offline' and why ~= 0 then
    if deadline then
      waiting = deadline > millis
    elseif why > 0 then
      waiting, watched = true, true
      deadline = millis + why
      call('HSET', factsKey, '"grace', format('%.0f', deadline))
    end
  end
  if deadline and not waiting then
    call('HDEL', factsKey, '"grace')
    deadline = nil
  end
  if watched then
    local due = deadline
    if till > 0 and (due == nil or till < due) then due = till end
    if due then
      call('ZADD', KEYS[3], format('%.0f', due), user)
    else
      call('ZREM', KEYS[3], user)
    end
  end

  local tail, visible = sockets, count
  if count == 0 then
    status = 'offline'
    if waiting then status = before end
  elseif own == 'invisible' then
    status, tail, visible = 'offline', '[],' .. sockets, 0
  elseif own then
    status = own
  end

  if status ~= before or tail ~= rest or (why == -2 and visible > 0 and seen ~= now) then
    if not record and count == 0 and not lost then
      -- His record has expired or was evicted; the index must not outlive it.
      departed[#departed + 1] = user
    else
      -- Who is or stays offline was last seen when he went, or began to be waited for.
      if status ~= 'offline' or (before ~= 'offline' and rest ~= '[]') then seen = now end
      local text = nowMicros
      if version >= micros then text = format('%.0f', version + 1) end
      local ttl = backstop
      if status == 'offline' then ttl = count > 0 and longest or remembered end
      record = '["' .. status .. '",' .. text .. ',' .. seen .. ',' .. tail .. ']'
      call('SET', recordKey, record, 'PX', ttl)
      -- The index may list a user whose record was unreadable.
      if unreadable and status == 'offline' and before == 'offline' then departed[#departed + 1] = user end
      if status ~= before then
        if before == 'offline' then
          arrived[#arrived + 1] = '0'
          arrived[#arrived + 1] = user
        elseif status == 'offline' then
          departed[#departed + 1] = user
        end
        -- Of one who is restored only those are told who knew something else of him.
        -- The same goes for one whose record was unreadable, unless they went offline in this call.
        if unreadable and before == 'offline' or rest == '' and restoring then before = status end
        events[#events + 1] = '["' .. user .. '","' .. status .. '","' .. before .. '",'
          .. seen .. ',' .. text .. ',' .. (visible == 1 and '1' or format('%.0f', visible)) .. ']'
      end
    end
  elseif count > 0 then
    call('PEXPIRE', recordKey, status == 'offline' and longest or backstop)
  end

  if count > 0 or deadline then
    call('PEXPIRE', factsKey, backstop)
  elseif own then
    call('PEXPIRE', factsKey, remembered)
  end
  replies[k + 2] = record
end

if #arrived > 0 then
  call('ZADD', KEYS[2], unpack(arrived))
  -- Renewals prolong it, so that it goes with the records when nobody is left to look after them.
  call('PEXPIRE', KEYS[2], longest)
end
if #departed > 0 then call('ZREM', KEYS[2], unpack(departed)) end
if #events > 0 then call(ARGV[10], channel, '[' .. table.concat(events, ',') .. ']') end
-- The embedded engine returns nothing for a table that grew.
return { unpack(replies) }
