-- Appends messages. KEYS: topic, producer's key. ARGV: sequence, then for each message: shard, number of fields, fields.
-- Idempotent: a producer has one call under way at a time, so a sequence seen before is a call sent again.
local seen = redis.call("GET", KEYS[2])
if seen and tonumber(seen) >= tonumber(ARGV[1]) then return 0 end
local append, finish = appender(KEYS[1])
local i, count = 2, 0
while i <= #ARGV do
  local size = tonumber(ARGV[i + 1])
  local fields = {}
  for f = 1, size do fields[f] = ARGV[i + 1 + f] end
  append(ARGV[i], fields)
  i = i + 2 + size
  count = count + 1
end
finish()
redis.call("SET", KEYS[2], ARGV[1], "EX", 3600)
return count
