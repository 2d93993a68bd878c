-- Notes that messages are about to be handed out. KEYS: group. ARGV: shard, instance, token, run, last id, attempt,
-- suspect ("1": one message that was handed out before and never came to an end).
-- Returns { "lost" } or { "ok", strikes }. A strike: the message was out, alone and marked, when its consumer ended.
local group, s = KEYS[1], ARGV[1]
if not owns(group, s, ARGV[2], ARGV[3], ARGV[4]) then return { "lost" } end
even_when_full(group)
local id = ARGV[5]
if ARGV[7] ~= "1" then
  redis.call("HSET", group, s .. ":handed", id)
  return { "ok", 0 }
end
local row = redis.call("HMGET", group, s .. ":mark", s .. ":suspect", s .. ":strikes")
local mark = id .. " " .. ARGV[3] .. " " .. ARGV[6]
local strikes = row[2] == id and tonumber(row[3] or 0) or 0
-- The very same mark: this call was sent again after a broken connection.
if row[2] == id and row[1] and row[1] ~= "" and row[1] ~= mark then strikes = strikes + 1 end
redis.call("HSET", group, s .. ":mark", mark, s .. ":suspect", id, s .. ":strikes", strikes)
return { "ok", strikes }
