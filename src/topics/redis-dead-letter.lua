-- Puts a message on the dead-letter topic, once. KEYS: group, dead-letter topic. ARGV: shard, instance, token, run,
-- message's id, fields. Returns 1, or 0 when the shard belongs to somebody else by now.
local group, s = KEYS[1], ARGV[1]
if not owns(group, s, ARGV[2], ARGV[3], ARGV[4]) then return 0 end
if redis.call("SADD", group .. ":dead:" .. s, ARGV[5]) == 0 then return 1 end
local fields = {}
for i = 6, #ARGV do fields[#fields + 1] = ARGV[i] end
local append, finish = appender(KEYS[2])
append("0", fields)
finish()
redis.call("HSETNX", KEYS[2] .. ":meta", "shards", 1)
return 1
