-- What the store notes of an outbox's writing (outbox-note.ts), changed together with what follows from it.
-- KEYS: outbox, note, set of names of what is published though the store has forgotten it. ARGV: the note as the caller knows it ("":
-- none), the new one, how long the set is kept (s), the seal of what was put into the set before (outbox-keep.lua; "": nothing was),
-- then id and name of each entry that leaves. Safe to repeat.
-- Replies 0, and has changed nothing: the note is another than the caller knows, or the seal is gone. 1; or 2: entries were not there
-- any more. The store has forgotten those: what is published of them comes again.
local note = redis.call("GET", KEYS[2]) or ""
if note ~= ARGV[1] and note ~= ARGV[2] then return 0 end
local published = note ~= ARGV[2]
if published and ARGV[4] ~= "" and redis.call("SREM", KEYS[3], ARGV[4]) == 0 then return 0 end
local reply = 1
redis.call("SET", KEYS[2], ARGV[2])
for i = 5, #ARGV, 2 do
  if redis.call("XDEL", KEYS[1], ARGV[i]) == 1 then
    redis.call("SREM", KEYS[3], ARGV[i + 1])
  else
    reply = 2
    if published and ARGV[i + 1] ~= "" then redis.call("SADD", KEYS[3], ARGV[i + 1]) end
  end
end
if reply == 2 then redis.call("EXPIRE", KEYS[3], ARGV[3]) end
return reply
