-- Lets a group go on from other places. KEYS: topic, group. ARGV: force ("1" or "0"), then for each shard its place.
-- Whoever consumes is fenced: its batches that are out end with "another owner", and it begins anew from there.
-- Returns { "ok" }, { "unknown" } where the group has never been here, or { "consuming", names … }.
local topic, group = KEYS[1], KEYS[2]
if redis.call("EXISTS", group) == 0 then return { "unknown" } end
local alive = redis.call("ZRANGEBYSCORE", group .. ":members", "(" .. int(now_ms()), "+inf")
if #alive > 0 and ARGV[1] ~= "1" then return { "consuming", unpack(alive) } end
for i = 2, #ARGV do
  local s, place = i - 2, ARGV[i]
  redis.call("HSET", group, s .. ":pos", place, s .. ":handed", place, s .. ":owner", "", s .. ":mark", "")
  redis.call("HDEL", group, s .. ":returned", s .. ":returns", s .. ":suspect", s .. ":strikes")
  redis.call("DEL", group .. ":dead:" .. s)
end
wake_others(group, "")
return { "ok" }
