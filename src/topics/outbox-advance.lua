-- What the store notes of an outbox's writing (outbox-note.ts), changed together with what follows from it.
-- KEYS: outbox, note, set of what is published though the store has forgotten it. ARGV: the note as the caller knows it ("": none),
-- the new one, how long the set is kept (s), how many entries leave, their ids, how many names come into the set, these, and
-- the names that leave it.
-- Replies 1; or 0, and has changed nothing: the note is another than the caller knows. Safe to repeat.
local note = redis.call("GET", KEYS[2]) or ""
if note ~= ARGV[1] and note ~= ARGV[2] then return 0 end
redis.call("SET", KEYS[2], ARGV[2])
local i = 4
local function next_of(n)
  local some = {}
  for j = 1, n do some[j] = ARGV[i + j] end
  i = i + n + 1
  return some
end
for _, id in ipairs(next_of(tonumber(ARGV[i]))) do redis.call("XDEL", KEYS[1], id) end
local coming = next_of(tonumber(ARGV[i]))
for _, name in ipairs(coming) do redis.call("SADD", KEYS[3], name) end
if #coming > 0 then redis.call("EXPIRE", KEYS[3], ARGV[3]) end
for j = i, #ARGV do redis.call("SREM", KEYS[3], ARGV[j]) end
return 1
