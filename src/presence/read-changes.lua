-- Reads which users' records were written since the last call. Readers with a cache create the list; writers add to it
-- only while it exists (update-users.lua), so it costs nothing without a cache.
--
-- KEYS  1 list of changes
-- ARGV  1 the last change that the reader knows, or ''   2 an element to create the list with   3 TTL of the list in ms
--       4 '1' to renew it
-- Returns { 1, the changes after the known one }; or { 0, the last change } if the known one is not in the list, so that
-- any record may have changed; or { 0 } if the list could not be created

local changes, known, first, ttl, renew = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'

local reply
local at = known ~= '' and redis.call('LPOS', changes, known, 'RANK', '-1')
if type(at) == 'number' then
  reply = { 1, unpack(redis.call('LRANGE', changes, string.format('%.0f', at + 1), '-1')) }
else
  local last = redis.call('LINDEX', changes, '-1')
  if type(last) ~= 'string' then
    -- A full server, or a replica, refuses.
    local created = redis.pcall('RPUSH', changes, first)
    if type(created) == 'table' then return { 0 } end
    last = first
  end
  reply, renew = { 0, last }, true
end
if renew then redis.pcall('PEXPIRE', changes, ttl) end
return reply
