-- Ends a batch. KEYS: topic, group. ARGV: shard, instance, token, run, "done" or "back", last id, number of messages,
-- suspect ("1" or "0"). Returns 1, or 0 when the shard belongs to somebody else by now.
local topic, group, s = KEYS[1], KEYS[2], ARGV[1]
if not owns(group, s, ARGV[2], ARGV[3], ARGV[4]) then return 0 end
even_when_full(group)
local id = ARGV[6]
redis.call("HSET", group, s .. ":mark", "")
local pos = redis.call("HGET", group, s .. ":pos")
if not after(id, pos) then return 1 end -- sent again after a broken connection
if ARGV[5] == "back" then
  if ARGV[8] ~= "1" then redis.call("HSET", group, s .. ":handed", pos) end
  redis.call("HINCRBY", group, s .. ":returns", 1)
  redis.call("HSET", group, s .. ":returned", id)
  return 1
end
-- Numbers have no gaps: what lies between two positions and was not in the batch had been trimmed away.
local _, from = parts(pos)
local _, to = parts(id)
local lost = to - from - tonumber(ARGV[7])
if lost > 0 then redis.call("HINCRBY", group, s .. ":lost", int(lost)) end
redis.call("HSET", group, s .. ":pos", id)
local row = redis.call("HMGET", group, s .. ":handed", s .. ":returned")
if after(id, row[1]) then redis.call("HSET", group, s .. ":handed", id) end
if row[2] and not after(row[2], id) then redis.call("HDEL", group, s .. ":returned", s .. ":returns") end
redis.call("HDEL", group, s .. ":suspect", s .. ":strikes")
redis.call("DEL", group .. ":dead:" .. s)
return 1
