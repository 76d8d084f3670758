-- Writes and deletes socket entries of one node, derives the records of their users, and publishes the changes.
-- No other script decides a status. Idempotent: a second run changes nothing.
--
-- KEYS  1 nodes  2 online  3 due  4 owner set of the node, then for each user: hash of entries, record
-- ARGV  1 node whose entries are written
--       2 lease in ms, 0 to leave the lease alone because none of the node's entries changes
--       3 TTL of users' keys in ms   4 TTL of an offline user's record in ms
--       5 channel of changes   6 length of the common beginning of the hashes' keys
--       7 "1" if the entries were lost and are restored: a missing record is then no change of status
--       8 statuses by priority, each between commas
--       9 the node's lease as last seen by it, 0 for none
--       10 publishing command, PUBLISH or SPUBLISH
--       11 three lines for each user, and three more for each further entry of theirs:
--          reason, empty for further entries: 0 or more: an entry changes; grace in ms if it was the last one;
--            -1 some time has passed; -2 the user was active; -3 the last entry was removed and there was no record.
--            "v" before it: the user came and went within this transaction; "s": their own status was written;
--            "d": an entry of another node was deleted.
--            "@" and a time in ms after it: the user was last seen then, because their node died.
--            "h" and an end after that: the node knows that the user is invisible until then; 0: without an end
--            "t" and a duration in ms after that: sockets without a process that have had no heartbeat are removed, unless
--            heartbeats may have been impossible for that long
--            "l" after that: the node knows that the user hides lastSeen
--          socket of the node, or nothing
--          its entry, or nothing to delete it; "=" before it: not the first write of this registration; "?": it is idle if the user
--            is, on other nodes or in their grace. "*" and a TTL before an
--            entry, which has no connectedAt: a socket without a process. "*" alone: its heartbeat, without effect on a socket
--            that is not there
--          or a tab, and a layer for the user's own status
--          or a tab and "l", and a random duration of up to lastSeenTtl, in microseconds, to hide lastSeen; nothing to show it
--          or a removal: a double quote and a socket, or only the quote for all of them; then, each if there is one, the time
--            in base 36 before which they were registered, and a double quote and the note for their owners
-- Returns { the node's lease before, or ""; its lease after, or ""; for each user the record, or false }
--
-- Format 2. Ids are escaped: neither they nor JSON text contain a line feed, and ids no double quote.
-- Entry:   node"socket = connectedAt ["status ["meta]]   connectedAt in ms, base 36; no status: online; "~": idle
--          *"socket = deadline"ttl"entry                 a socket without a process: removed at the deadline, in ms
--          "status = layer {tab layer}                   the user's own status, and what follows when it ends, soonest first
--            layer: status"until["meta]                  until 0: without an end; "~": the status of the sockets; no
--                                                        status: it was removed. JSON text contains no tab
--          "seen = duration                              lastSeen is hidden; versions began that long after the time, in us
--          "grace = deadline"duration["~]                there is no socket; the user keeps their status until then; "~": idle
--          "removed"socket = time ["note]                registrations from before the time, in ms, base 36, are removed,
--                                                        whoever writes them again; no socket: of all sockets
-- Record:  2status"version"lastSeen ["h until] {LF socket"node"entry}   node: "*" without a process
--          3status"version"lastSeen ["h until] ["l] ["s layers] {LF ...}   of a user with a status of their own, or who hides
--          lastSeen ("l): then the version tells no time
--          no lastSeen: it is the version's millisecond. "h: the user is invisible, until then if it is there; the status
--          is offline, and version and lastSeen are those of the last change that others could see (0 if there was none).

local KEYS, ARGV = KEYS, ARGV
local node, lease, keyTtl, lastSeenTtl = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local channel, skip, restoring, priorities = ARGV[5], tonumber(ARGV[6]), ARGV[7] == '1', ARGV[8]
local known = tonumber(ARGV[9])
local longest = keyTtl
if tonumber(lastSeenTtl) > tonumber(keyTtl) then longest = lastSeenTtl end

-- Most of the time goes into Lua itself, not into commands: what every user needs is looked up and formatted once.
local call, find, sub, match, gmatch, format = redis.call, string.find, string.sub, string.match, string.gmatch, string.format
local byte, tonumber, type = string.byte, tonumber, type
local QUOTE, QUESTION, TWO, LETTER_L = byte('"'), byte('?'), byte('2'), byte('l')
-- The first character of values of sockets without a process, which is their node.
local ASTERISK = byte('*')

local time = call('TIME')
-- Floating point throughout, because integers of ioredis-mock have 32 bits.
local micros = time[1] * 1000000.0 + time[2]
local millis = (micros - micros % 1000) / 1000
local now, nowMicros = format('%.0f', millis), format('%.0f', micros)

-- A node that writes entries is listed, so that every entry can be reaped. A lease that shows a loss is not renewed, so that
-- it keeps showing it until the node has received a reply: claimed (negative), older than the known one, or missing. A
-- missing one is replaced by one that expired long ago. To the microsecond, because a write in the same millisecond as the one
-- before would leave the same lease, which shows no loss.
local was, is = '', ''
if lease > 0 then
  was = call('ZSCORE', KEYS[1], node) or ''
  is = was
  if was == '' and known > 0 then
    is = '1'
    call('ZADD', KEYS[1], is, node)
  elseif was == '' or (tonumber(was) > 0 and tonumber(was) >= known) then
    is = format('%.3f', micros / 1000 + lease)
    call('ZADD', KEYS[1], is, node)
  end
end

-- The next version of a user who hides lastSeen. The first one is later by a random duration. As that is at most
-- lastSeenTtl, a record that expires has a version that is past. Each later one grows by less than a millisecond, and not
-- always by the same: a version that a failover has lost is not given again.
local function concealedVersion(version, duration, concealedBefore)
  local grown = version + 1 + micros % 1000
  if not (concealedBefore and version > 0) then grown = math.max(grown, micros + duration) end
  return format('%.0f', grown)
end

-- Statuses without a priority come last, in alphabetical order.
local function outranks(a, b)
  local rankA = find(priorities, ',' .. a .. ',', 1, true) or 1000000
  local rankB = find(priorities, ',' .. b .. ',', 1, true) or 1000000
  if rankA ~= rankB then return rankA < rankB end
  return a < b
end

local function statusOf(entry)
  local from = find(entry, '"', 1, true)
  if not from then return 'online' end
  local to = find(entry, '"', from + 1, true)
  local status = to and sub(entry, from + 1, to - 1) or sub(entry, from + 1)
  if status == '' then return 'online' end
  if status == '~' then return 'away' end
  return status
end

-- Base 36, without leading zeros.
local function isLater(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

local function toBase36(number)
  local text = ''
  repeat
    local digit = number % 36
    text = sub('0123456789abcdefghijklmnopqrstuvwxyz', digit + 1, digit + 1) .. text
    number = (number - digit) / 36
  until number == 0
  return text
end

-- Writes a socket without a process, or notes its heartbeat. Returns the number of new fields, or nil if there is none.
local function writeTtlSocket(entriesKey, socket, value)
  local field = '*"' .. socket
  local stored = call('HGET', entriesKey, field)
  local storedTtl, entry
  if type(stored) == 'string' then storedTtl, entry = match(stored, '^%d+"(%d+)"(.*)$') end
  local ttl, rest = match(value, '^%*(%d+)(.*)$')
  if ttl then
    -- A later call, from whichever process, continues the connection.
    entry = (entry and match(entry, '^[^"]*') or toBase36(millis)) .. rest
  else
    ttl = storedTtl
    if not ttl then return nil end
  end
  return call('HSET', entriesKey, field, format('%.0f', millis + ttl) .. '"' .. ttl .. '"' .. entry)
end

-- Writes a layer of the user's own status. One with an end covers those that end later, but gives the current one another end
-- if it differs in nothing else; without an end it replaces all. Writing it again changes nothing. Returns the number of new
-- fields.
local function writeOwnStatus(entriesKey, layer)
  local till, layers = tonumber(match(layer, '^[^"]*"(%d+)')), { layer }
  if till > 0 then
    local stored = call('HGET', entriesKey, '"status')
    local word, meta = match(layer, '^([^"]*)"%d+(.*)$')
    local current = true
    for below in gmatch(type(stored) == 'string' and stored or '', '[^\t]+') do
      local itsWord, ends, itsMeta = match(below, '^([^"]*)"(%d+)(.*)$')
      ends = tonumber(ends)
      if itsWord ~= '' and (ends == 0 or ends > millis) then
        local same = current and itsWord == word and itsMeta == meta
        current = false
        if not same and (ends == 0 or ends > till) then layers[#layers + 1] = below end
      end
    end
    -- The last one has no end, or the latest.
    if #layers > 8 then table.remove(layers, 8) end
  end
  return call('HSET', entriesKey, '"status', table.concat(layers, '\t'))
end

-- Status, lines and number of the sockets, the layers of the user's own status and the first one's end, deadline and duration of a grace; the removals
-- by socket; whether the user's own status was removed; of sockets without a process the first deadline, the longest TTL, and
-- the last heartbeat of those removed here; the duration of "seen. A socket registered by two nodes counts once: the later
-- registration is where the client is connected.
local function read(entriesKey, entries, outage)
  local status, lines, winners = nil, {}, {}
  local own, till, deadline, duration, removals, cleared = nil, 0, nil, nil, nil, false
  local nextEnd, longestTtl, lastBeat
  local concealed = nil
  for i = 1, #entries, 2 do
    local owner, socket = match(entries[i], '^([^"]*)"(.*)$')
    local value = entries[i + 1]
    if owner == '' then
      local first, second = match(value, '^([^"]*)"(%d+)')
      if socket == 'seen' then
        concealed = tonumber(value)
      elseif socket == 'grace' then
        deadline, duration = tonumber(first), tonumber(second)
      elseif socket ~= 'status' then
        removals = removals or {}
        removals[sub(socket, #'removed"' + 1)] = value
      elseif first == '' then
        cleared = true
      else
        own, till = value, tonumber(second)
      end
    else
      if owner == '*' then
        local ends, ttl, entry = match(value, '^(%d+)"(%d+)"(.*)$')
        ends, ttl, value = tonumber(ends), tonumber(ttl), entry
        local overdue = outage and ends <= millis
        if overdue and outage * 2 <= ttl then
          call('HDEL', entriesKey, entries[i])
          if not lastBeat or ends - ttl > lastBeat then lastBeat = ends - ttl end
          value = nil
        else
          -- No heartbeat could be received, or the clock stepped back.
          if overdue or ends - millis > ttl then
            ends = millis + ttl
            call('HSET', entriesKey, entries[i], format('%.0f', ends) .. '"' .. format('%.0f', ttl) .. '"' .. entry)
          end
          if not nextEnd or ends < nextEnd then nextEnd = ends end
          if not longestTtl or ttl > longestTtl then longestTtl = ttl end
        end
      end
      if value then
        local since = match(value, '^[^"]*')
        local other = winners[socket]
        if other == nil or isLater(since, other.since) or (since == other.since and owner > other.owner) then
          winners[socket] = { since = since, owner = owner, value = value }
        end
      end
    end
  end
  for socket, entry in pairs(winners) do
    local word = statusOf(entry.value)
    if status == nil or outranks(word, status) then status = word end
    lines[#lines + 1] = '\n' .. socket .. '"' .. entry.owner .. '"' .. entry.value
  end
  if #lines > 1 then table.sort(lines) end
  return status, table.concat(lines), #lines, own, till, deadline, duration, removals, cleared, nextEnd, longestTtl, lastBeat, concealed
end

-- `reasons`: those that are numbers, as most are, are numbers here.
local users, reasons, recordKeys, n = {}, {}, {}, 0
-- Of each user: the number of entries written, the last one's socket and value, and how many fields the hash got.
local written, lastSocket, lastValue, isNew = {}, {}, {}, {}
local lines, last, added, removed = {}, 0, {}, {}
-- By position in `lines`: written before. By user: their removals, and layers of their own status.
local isKnown, removing, stating, concealing = {}, {}, {}, {}
-- By position in `lines`: idle if the user is.
local inherits = {}
for reason, socket, mark, value in gmatch(ARGV[11], '([^\n]*)\n([^\n]*)\n(=?)([^\n]*)\n') do
  if reason ~= '' then
    n = n + 1
    users[n], reasons[n], recordKeys[n] = sub(KEYS[2 * n + 3], skip + 1), tonumber(reason) or reason, KEYS[2 * n + 4]
    written[n] = 0
  end
  if socket == '\t' then
    stating[n] = stating[n] or {}
    stating[n][#stating[n] + 1] = mark .. value
  elseif socket == '\tl' then
    concealing[n] = value
  elseif byte(socket) == QUOTE then
    removing[n] = removing[n] or {}
    removing[n][#removing[n] + 1] = { sub(socket, 2), value }
  elseif socket ~= '' then
    if mark ~= '' then
      isKnown[last + 1] = true
    elseif byte(value) == QUESTION then
      value = sub(value, 2)
      inherits[last + 1] = true
    end
    lines[last + 1], lines[last + 2], lines[last + 3] = n, socket, value
    last = last + 3
    if value == '' then
      removed[#removed + 1] = users[n] .. '"' .. socket
    elseif byte(value) ~= ASTERISK then
      -- An entry that was written before is in the owner set. One of them is added again: it finds a set of another type.
      if restoring or not isKnown[last - 2] or #added == 0 then added[#added + 1] = users[n] .. '"' .. socket end
      written[n], lastSocket[n], lastValue[n] = written[n] + 1, socket, value
    end
  end
end

-- A key of another type ends the script: HLEN finds it before anything is written.
local sizes = {}
for k = 1, n do sizes[k] = call('HLEN', KEYS[2 * k + 3]) end
for k, layers in pairs(stating) do
  for _, layer in ipairs(layers) do sizes[k] = sizes[k] + writeOwnStatus(KEYS[2 * k + 3], layer) end
end

for k, value in pairs(concealing) do
  if value ~= '' then
    -- A repetition keeps the duration.
    if type(call('HGET', KEYS[2 * k + 3], '"seen')) ~= 'string' then
      sizes[k] = sizes[k] + call('HSET', KEYS[2 * k + 3], '"seen', value)
    end
  else
    sizes[k] = sizes[k] - call('HDEL', KEYS[2 * k + 3], '"seen')
  end
end

-- Still, every entry must be reapable at any time: its member of the owner set is added before it and removed after it.
-- unpack() has room for some thousand arguments; a transaction stays far below that.
if #added > 0 then
  call('SADD', KEYS[4], unpack(added))
  call('PEXPIRE', KEYS[4], longest)
end
local mine = node .. '"'

-- Stored as well, because a notification may be missed. The names of the inboxes are those of PartitionKeys.inbox; they are
-- not in KEYS, because only the hash names the owners.
local base = sub(KEYS[1], 1, -#':nodes' - 1)
local function notify(owner, notification)
  local instance = string.gsub(owner, '(#[%w_-]+)%.%d+$', '%1')
  local inbox = ':inbox' .. sub(channel, #base + #':events' + 1) .. ':' .. instance
  local first = string.gsub(base, ':%d+}$', ':0}')
  call('SADD', base .. inbox, notification)
  call('PEXPIRE', base .. inbox, longest)
  -- Ids are JSON text already, whose escapes must reach the owner as they are.
  call('PUBLISH', first .. inbox, '["' .. string.gsub(notification, '[\\"]', '\\%0') .. '"]')
end

-- A user has become invisible, or visible: the nodes that own their sockets keep invisible users out of rooms.
local function notifyOwners(entriesKey, user)
  local notified = {}
  local entries = call('HGETALL', entriesKey)
  for i = 1, #entries, 2 do
    local owner = match(entries[i], '^[^"]*')
    if owner ~= '' and owner ~= '*' and not notified[owner] then
      notified[owner] = true
      notify(owner, user)
    end
  end
end

-- Removes the registrations of a socket ("": of all) from before a time (nil: all), whatever node owns them. Returns their
-- number.
local function removeRegistrations(k, removed, before, note)
  local entriesKey, count = KEYS[2 * k + 3], 0
  local entries = call('HGETALL', entriesKey)
  for i = 1, #entries, 2 do
    local owner, socket = match(entries[i], '^([^"]*)"(.*)$')
    local value = owner == '*' and match(entries[i + 1], '^%d+"%d+"(.*)$') or entries[i + 1]
    local since = match(value, '^[^"]*')
    if owner ~= '' and (removed == '' or socket == removed) and (not before or isLater(before, since)) then
      call('HDEL', entriesKey, entries[i])
      if owner ~= '*' then
        call('SREM', base .. ':node:' .. owner, users[k] .. '"' .. socket)
        notify(owner, users[k] .. '"' .. socket .. '"' .. since .. note)
      end
      count = count + 1
    end
  end
  sizes[k] = sizes[k] - count
  return count
end

-- A removal holds for owners that did not hear of it, because they were taken for dead or Redis was wiped: their entries are
-- removed again when they write them. The number of removals is limited; the oldest ends first.
local function rememberRemoval(k, socket, before, note)
  local entriesKey, field = KEYS[2 * k + 3], '"removed"' .. socket
  local stored = call('HGET', entriesKey, field)
  if type(stored) == 'string' and isLater(match(stored, '^[^"]*'), before) then return end
  sizes[k] = sizes[k] + call('HSET', entriesKey, field, before .. note)
  local count, oldest, oldestTime = 0, nil, nil
  local entries = call('HGETALL', entriesKey)
  for i = 1, #entries, 2 do
    if sub(entries[i], 1, 9) == '"removed"' then
      local time = match(entries[i + 1], '^[^"]*')
      count = count + 1
      if not oldest or isLater(oldestTime, time) then oldest, oldestTime = entries[i], time end
    end
  end
  if count > 100 then sizes[k] = sizes[k] - call('HDEL', entriesKey, oldest) end
  if count == #entries / 2 then call('PEXPIRE', entriesKey, longest) end
end

-- Applies stored removals to what was just written. Returns true if it removed an entry.
local function applyRemovals(k, removals)
  local entriesKey, count = KEYS[2 * k + 3], 0
  for removed, value in pairs(removals) do
    local before, note = match(value, '^([^"]*)(.*)$')
    -- The first write of a registration came after the removal, whatever the clocks say.
    for at = 1, last, 3 do
      local socket, entry = lines[at + 1], lines[at + 2]
      if lines[at] == k and entry ~= '' and not isKnown[at] and (removed == '' or removed == socket) then
        local since = match(entry, '^[^"]*')
        if byte(entry) == ASTERISK then since = entry ~= '*' and toBase36(millis) or before end
        if isLater(before, since) then
          before = since
          call('HSET', entriesKey, '"removed"' .. removed, before .. note)
        end
      end
    end
    count = count + removeRegistrations(k, removed, before, note)
    if isLater(toBase36(millis - longest), before) then call('HDEL', entriesKey, '"removed"' .. removed) end
  end
  isNew[k] = (isNew[k] or 0) > count and isNew[k] - count or nil
  return count > 0
end

-- All sockets are idle, or were when the grace began.
local function isIdle(entriesKey)
  local entries, idle = call('HGETALL', entriesKey), false
  for i = 1, #entries, 2 do
    local isSocket = byte(entries[i]) ~= QUOTE
    if isSocket or entries[i] == '"grace' then
      if not find(entries[i + 1], isSocket and '^[^"]*"~' or '"~$') then return false end
      idle = true
    end
  end
  return idle
end

-- The same, of the sockets in a record.
local function wasIdle(tail)
  local idle = false
  for line in gmatch(tail, '\n([^\n]*)') do
    if not find(line, '^[^"]*"[^"]*"[^"]*"~') then return false end
    idle = true
  end
  return idle
end

-- Users with a deleted entry; other nodes' entries are deleted before this script.
local touched = {}
-- Users with a heartbeat of a socket without a process.
local beating = {}
for k = 1, n do touched[k] = type(reasons[k]) == 'string' and find(reasons[k], 'd', 1, true) ~= nil end
for k, removals in pairs(removing) do
  for _, removal in ipairs(removals) do
    local socket, value = removal[1], removal[2]
    local before, note = match(value, '^([^"]*)(.*)$')
    if before == '' then before = nil end
    local count = removeRegistrations(k, socket, before, note)
    if count > 0 then touched[k] = true end
    -- The owner of a missing entry was not notified. Of all of a user's entries, any may be missing.
    if count == 0 or socket == '' then rememberRemoval(k, socket, before or toBase36(millis + 1), note) end
  end
end
for at = 1, last, 3 do
  local k, value = lines[at], lines[at + 2]
  if inherits[at] and sizes[k] > 0 and isIdle(KEYS[2 * k + 3]) then
    local since, rest = match(value, '^([^"]*)"?(.*)$')
    value = since .. '"~' .. rest
    lines[at + 2], lastValue[k] = value, value
  end
  if value == '' then
    local deleted = call('HDEL', KEYS[2 * k + 3], mine .. lines[at + 1])
    sizes[k] = sizes[k] - deleted
    if deleted > 0 then touched[k] = true end
  elseif byte(value) == ASTERISK then
    local new = writeTtlSocket(KEYS[2 * k + 3], lines[at + 1], value)
    if new then beating[k] = true end
    if new == 1 then
      isNew[k] = (isNew[k] or 0) + 1
      sizes[k] = sizes[k] + 1
    end
  elseif call('HSET', KEYS[2 * k + 3], mine .. lines[at + 1], value) == 1 then
    isNew[k] = (isNew[k] or 0) + 1
    sizes[k] = sizes[k] + 1
    -- Removed or lost since it was written: so may be its member of the owner set.
    if isKnown[at] then call('SADD', KEYS[4], users[k] .. '"' .. lines[at + 1]) end
  end
end
if #removed > 0 then call('SREM', KEYS[4], unpack(removed)) end

local replies, events, arrived, departed, rewritten = { was, is }, {}, {}, {}, {}

-- One call for all records, because a call costs more than a read.
local records = n > 0 and call('MGET', unpack(recordKeys)) or {}

-- A removal that removed nothing changes nothing: a user whose entries are missing is not offline.
local updated = {}
for k = 1, n do
  if removing[k] and not touched[k] and (tonumber(reasons[k]) or 0) > 0 and written[k] == 0 then
    replies[k + 2] = type(records[k]) == 'string' and records[k]
  else
    updated[#updated + 1] = k
  end
end

for _, k in ipairs(updated) do
  local entriesKey, recordKey, user = KEYS[2 * k + 3], recordKeys[k], users[k]
  local reason, visited, stated, lastAlive, knownHidden, outage = reasons[k], false, false, nil, nil, nil
  local knownConcealed = false
  if type(reason) == 'string' then
    local came, set, number, at, hidden, impossible, mark =
      match(reason, '^(v?)(s?)d?(-?%d+)@?(%d*)h?(%d*)t?(%d*)(l?)$')
    reason, visited, stated = tonumber(number), came == 'v', set == 's'
    if at ~= '' then lastAlive = at end
    if hidden ~= '' then knownHidden = hidden end
    outage = tonumber(impossible)
    knownConcealed = mark ~= ''
  end

  local status, sockets, count, own, till, deadline, duration, removals, cleared, nextEnd, longestTtl, lastBeat, concealed
  local userTtl, longestUserTtl = keyTtl, longest
  if sizes[k] == 0 then
    sockets, count, till = '', 0, 0
  elseif sizes[k] == 1 and written[k] == 1 then
    -- The entry just written is the only one.
    local value = lastValue[k]
    status, sockets, count, till = statusOf(value), '\n' .. lastSocket[k] .. '"' .. mine .. value, 1, 0
  else
    status, sockets, count, own, till, deadline, duration, removals, cleared, nextEnd, longestTtl, lastBeat, concealed =
      read(entriesKey, call('HGETALL', entriesKey), outage)
    if removals and applyRemovals(k, removals) then
      status, sockets, count, own, till, deadline, duration, removals, cleared, nextEnd, longestTtl =
        read(entriesKey, call('HGETALL', entriesKey), outage)
    end
    if longestTtl then
      userTtl = format('%.0f', keyTtl + longestTtl)
      if tonumber(userTtl) > tonumber(longest) then longestUserTtl = userTtl end
    elseif lastBeat and count == 0 and reason == -1 then
      lastAlive = format('%.0f', lastBeat)
    end
  end

  -- A missing record is false, and another falsy value on ioredis-mock.
  local record = records[k]
  if type(record) ~= 'string' then record = false end
  local missing = not record
  local before, versionText, seen, unreadable = 'offline', '0', now, false
  -- The rest of the record begins at this position. Long strings cost time to make.
  local stored, restAt = '', 1
  if record then
    local word, number, seenAt, tailAt = match(record, '^[23]([^"\n]*)"(%d+)"(%d*)()')
    if word and (byte(record) == TWO or find(record, '^"[ls]', tailAt) or find(record, '^"h%d*"[ls]', tailAt)) then
      before, versionText, seen, stored, restAt = word, number, seenAt, record, tailAt
      if seen == '' then seen = sub(number, 1, -4) end
    else
      unreadable = true
    end
  end

  -- Redis lost the record, or cannot read it: all that is known is that the user was there.
  local lost = count == 0 and ((missing and (reason == -3 or deadline)) or (unreadable and (deadline or (reason >= 0 and touched[k]))))
  if lost then before = 'online' end

  local layers = own
  if own then own = match(own, '^[^"]*') end

  -- The status `invisible` was not removed, so Redis has lost it: it is written back before anything is published.
  local hiddenBefore = byte(stored, restAt) == QUOTE and match(stored, '^"h%d*', restAt) or nil
  if not own and not stated and not cleared and (hiddenBefore or (knownHidden and (missing or restoring))) then
    local ends = tonumber(hiddenBefore and sub(hiddenBefore, 3) or knownHidden) or 0
    if ends == 0 or ends > millis then
      own, till = 'invisible', ends
      layers = 'invisible"' .. format('%.0f', ends)
      call('HSET', entriesKey, '"status', layers)
    end
  end

  -- As for the status `invisible`.
  local markAt = restAt + (hiddenBefore and #hiddenBefore or 0)
  local concealedBefore = byte(stored, markAt) == QUOTE and byte(stored, markAt + 1) == LETTER_L
  if not concealed and not concealing[k] and (concealedBefore or (knownConcealed and (missing or restoring))) then
    -- The longest duration, so that the version is later than any that is lost.
    concealed = lastSeenTtl * 1000.0
    call('HSET', entriesKey, '"seen', format('%.0f', concealed))
  end

  local watched = reason == -1 or deadline ~= nil or till > 0 or nextEnd ~= nil
  if own and till > 0 and till <= millis then
    repeat
      layers = match(layers, '\t(.*)$')
      own, till = nil, 0
      if layers then
        own, till = match(layers, '^([^"]*)"(%d+)')
        till = tonumber(till)
      end
    until till == 0 or till > millis
    if layers then
      call('HSET', entriesKey, '"status', layers)
    else
      call('HDEL', entriesKey, '"status')
    end
  end
  local waiting = false
  if count == 0 and before ~= 'offline' and reason ~= 0 then
    if deadline then
      -- Longer than it can be: the clock stepped back.
      if deadline - millis > duration then
        deadline = millis + duration
        local idle = find(call('HGET', entriesKey, '"grace'), '"~$') and '"~' or ''
        call('HSET', entriesKey, '"grace', format('%.0f', deadline) .. '"' .. format('%.0f', duration) .. idle)
      end
      waiting = deadline > millis
    elseif reason > 0 then
      waiting, watched = true, true
      deadline = millis + reason
      local idle = wasIdle(sub(stored, restAt)) and '"~' or ''
      call('HSET', entriesKey, '"grace', format('%.0f', deadline) .. '"' .. format('%.0f', reason) .. idle)
    end
  end
  if deadline and not waiting then
    call('HDEL', entriesKey, '"grace')
    deadline = nil
  end
  if watched then
    local due = deadline
    if till > 0 and (due == nil or till < due) then due = till end
    if nextEnd and (due == nil or nextEnd < due) then due = nextEnd end
    if due then
      call('ZADD', KEYS[3], format('%.0f', due), user)
    else
      call('ZREM', KEYS[3], user)
    end
  end

  local tail, visible, hiddenNow = layers and '"s' .. layers .. sockets or sockets, count, nil
  if concealed then tail = '"l' .. tail end
  if count == 0 then
    status = 'offline'
    if waiting then status = before end
  elseif own == 'invisible' then
    hiddenNow = till > 0 and '"h' .. format('%.0f', till) or '"h'
    status, tail, visible = 'offline', hiddenNow .. tail, 0
  elseif own and own ~= '~' then
    status = own
  end

  -- The node that registers the first sockets finds it in the reply.
  local conceals = (concealed ~= nil) ~= concealedBefore
  if (hiddenNow ~= hiddenBefore or conceals) and count > (isNew[k] or 0) then notifyOwners(entriesKey, user) end

  if status ~= 'offline' and (restoring or isNew[k] or beating[k] or before == 'offline' or unreadable) then
    arrived[#arrived + 1] = user
  end
  -- Renewals refresh the TTLs of keys that exist.
  local renewsTtl = isNew[k] or beating[k] or restoring or own or concealed or nextEnd
  local changed = status ~= before or unreadable or (missing and count == 0)
    or #stored - restAt + 1 ~= #tail or find(stored, tail, restAt, true) ~= restAt
  if changed or (reason == -2 and visible > 0 and seen ~= now) or (visited and count == 0) then
    if not record and count == 0 and not lost and not visited then
      -- The record has expired or was evicted; the index must not outlive it.
      departed[#departed + 1] = user
      rewritten[#rewritten + 1] = user
    else
      local text = versionText
      if status == 'offline' and before == 'offline' and not visited and not unreadable and (missing or not conceals) then
        -- Others see no change.
        if missing then seen = '0' end
      else
        if concealed then
          text = concealedVersion(tonumber(versionText), concealed, concealedBefore)
        else
          text = nowMicros
          if #versionText > #nowMicros or (#versionText == #nowMicros and versionText >= nowMicros) then
            text = format('%.0f', tonumber(versionText) + 1)
          end
        end
        if status ~= 'offline' and not waiting then
          seen = now
        elseif visited or unreadable or lost or (before ~= 'offline' and find(stored, '\n', restAt, true)) then
          -- The last socket has gone; a grace that ends later changes nothing about that.
          local at = lastAlive or now
          if missing or unreadable or tonumber(at) > tonumber(seen) then seen = at end
        end
      end
      local shown = seen
      if (text == nowMicros and seen == now) or seen == sub(text, 1, -4) then shown = '' end
      record = ((layers or concealed) and '3' or '2') .. status .. '"' .. text .. '"' .. shown .. tail
      local ttl = userTtl
      if status == 'offline' then ttl = count > 0 and longestUserTtl or lastSeenTtl end
      if count > 0 and status ~= 'offline' and before ~= 'offline' and not renewsTtl then
        call('SET', recordKey, record, 'KEEPTTL')
      else
        call('SET', recordKey, record, 'PX', ttl)
      end
      rewritten[#rewritten + 1] = user
      if status == 'offline' and (before ~= 'offline' or unreadable) then departed[#departed + 1] = user end
      if status ~= before or (conceals and not missing) then
        -- The status is unchanged if lastSeen was hidden or shown: only watches receive it.
        -- The record was lost, and now is derived again: no change, but watches that have missed it receive it.
        local shownBefore = before
        if (missing and count > 0 and (restoring or count > (isNew[k] or 0))) or (unreadable and not lost) then shownBefore = status end
        events[#events + 1] = '["' .. user .. '","' .. status .. '","' .. shownBefore .. '",'
          .. (concealed and '0' or seen) .. ',' .. text .. ',' .. (visible == 1 and '1' or format('%.0f', visible)) .. ']'
      end
    end
  elseif count > 0 and (restoring or isNew[k] or beating[k]) then
    call('PEXPIRE', recordKey, status == 'offline' and longestUserTtl or userTtl)
  end

  if count > 0 then
    if renewsTtl then call('PEXPIRE', entriesKey, userTtl) end
  elseif deadline then
    call('PEXPIRE', entriesKey, keyTtl)
  elseif removals then
    call('PEXPIRE', entriesKey, longest)
  elseif own or cleared or concealed then
    call('PEXPIRE', entriesKey, lastSeenTtl)
  end
  replies[k + 2] = record
end

if #arrived > 0 then
  call('SADD', KEYS[2], unpack(arrived))
  call('PEXPIRE', KEYS[2], longest)
end
if #departed > 0 then call('SREM', KEYS[2], unpack(departed)) end
-- The list exists only while a process has a lookup cache (read-changes.lua). Its name is that of PartitionKeys.changes.
if #rewritten > 0 then
  local changes = sub(KEYS[1], 1, -#'nodes' - 1) .. 'changes'
  local change = nowMicros .. '"' .. node .. '\n' .. table.concat(rewritten, '\n')
  if call('RPUSHX', changes, change) > 2000 then call('LTRIM', changes, '-1000', '-1') end
end
if #events > 0 then
  -- The brackets join short strings, because the whole text would be copied and hashed twice.
  events[1] = '[' .. events[1]
  events[#events] = events[#events] .. ']'
  call(ARGV[10], channel, table.concat(events, ','))
end
-- ioredis-mock returns nothing for a table that has grown.
return { unpack(replies) }
