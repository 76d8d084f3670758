-- Looks for graces in rooms whose end is not in `due`, because Redis lost it.
--
-- KEYS  1 due, then rooms
-- ARGV  1 cursor of HSCAN in the first room   2 its COUNT, and the largest number of members to look at, roughly
--       3 length of the common beginning of the rooms' keys
-- Returns { number of rooms read to their end, cursor in the room after them, { user"room, ... }, { number of a room in
--           which somebody is in their grace, ... } }

local call = redis.call
local left, cursor = tonumber(ARGV[2]), ARGV[1]
local done, lost, graced = 0, {}, {}
for i = 2, #KEYS do
  local room = string.sub(KEYS[i], tonumber(ARGV[3]) + 1)
  local found = false
  repeat
    local reply = call('HSCAN', KEYS[i], cursor, 'COUNT', ARGV[2])
    cursor = reply[1]
    local page = reply[2]
    for at = 1, #page, 2 do
      -- See update-rooms.lua: the line of a grace has no node. Fields begin with a colon.
      if string.find(page[at + 1], '^2%d+\n"') then
        found = true
        local member = string.sub(page[at], 2) .. '"' .. room
        if not call('ZSCORE', KEYS[1], member) then lost[#lost + 1] = member end
      end
    end
    left = left - #page / 2 - 1
  until cursor == '0' or left <= 0
  if found then graced[#graced + 1] = i - 1 end
  if cursor ~= '0' then break end
  done = done + 1
  if left <= 0 then break end
end
return { done, cursor, lost, graced }
