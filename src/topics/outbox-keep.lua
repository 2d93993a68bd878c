-- Keeps names of what is published though the store has forgotten it (outbox-note.ts), a piece of them after the other. KEYS: set.
-- ARGV: the seal that the piece before has left ("": this is the first), this piece's own, how long the set is kept (s), the names.
-- Safe to repeat. Replies 0, and has changed nothing, where the piece before is not there any more: the store has forgotten it.
if redis.call("SISMEMBER", KEYS[1], ARGV[2]) == 1 then return 1 end
if ARGV[1] ~= "" and redis.call("SREM", KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 4, #ARGV do redis.call("SADD", KEYS[1], ARGV[i]) end
redis.call("SADD", KEYS[1], ARGV[2])
redis.call("EXPIRE", KEYS[1], ARGV[3])
return 1
