-- (note-change.lua stands before it.) Notes who is in another state than it was last seen in, each change once, whatever number of bridges look.
-- KEYS: states (who -> "at state why"), changes (stream), counts (who:state -> times).
-- ARGV: 1 when it was looked at (ms, store's clock), 2 most changes kept, 3 "all" or "some"; then for each group or key by turns
--   who ("group" or "group/key"), state, why, until (ms, "": not known)
-- With "all", who is not named has gone and is forgotten; who is seen for the first time has not changed.
-- Replies how many changes were noted.
local at, most = tonumber(ARGV[1]), ARGV[2]
local seen = {}
if ARGV[3] == 'all' then
  local flat = redis.call('HGETALL', KEYS[1])
  for i = 1, #flat, 2 do seen[flat[i]] = flat[i + 1] end
end

local noted = 0
for i = 4, #ARGV, 4 do
  local who, state, why, till = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local last = seen[who]
  if ARGV[3] ~= 'all' then last = redis.call('HGET', KEYS[1], who) end
  seen[who] = nil
  if note_change({ states = KEYS[1], changes = KEYS[2], counts = KEYS[3], most = most }, last, who, state, why, till, at) then noted = noted + 1 end
end
for who in pairs(seen) do
  redis.call('HDEL', KEYS[1], who)
  for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
    if string.sub(field, 1, #who + 1) == who .. ':' then redis.call('HDEL', KEYS[3], field) end
  end
end
return noted
