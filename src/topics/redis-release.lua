-- Gives up shards, and with `leave` = "1" the membership too. KEYS: group. ARGV: name, instance, leave, shard, token, …
-- A message that is still out stays marked: who gives up without an end to it counts as having failed on it.
local group = KEYS[1]
local released = 0
even_when_full(group)
for i = 4, #ARGV, 2 do
  if owns(group, ARGV[i], ARGV[2], ARGV[i + 1], "") then
    redis.call("HSET", group, ARGV[i] .. ":owner", "")
    released = released + 1
  end
end
if ARGV[3] == "1" and redis.call("HGET", group, "member:" .. ARGV[1]) == ARGV[2] then
  redis.call("HDEL", group, "member:" .. ARGV[1])
  redis.call("ZREM", group .. ":members", ARGV[1])
  redis.call("DEL", group .. ":wake:" .. ARGV[1])
  released = released + 1
end
if released > 0 then wake_others(group, ARGV[1]) end
return released
