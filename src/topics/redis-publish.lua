-- Appends messages. KEYS: topic, producer's key. ARGV: sequence, sequence of the newest earlier call that the producer knows
-- to be acknowledged (0: none), then for each message: shard, number of fields, fields.
-- Idempotent: a producer has one call under way at a time, so a sequence seen before is a call sent again.
-- Returns how many were appended; or -1 - n, with nothing appended, when the store knows the producer's calls only up to n:
-- it came back without the ones after it, and they are to be published again first.
local seen = tonumber(redis.call("GET", KEYS[2]) or 0)
if seen >= tonumber(ARGV[1]) then return 0 end
if seen < tonumber(ARGV[2]) then return -1 - seen end
local append, finish = appender(KEYS[1])
local i, count = 3, 0
while i <= #ARGV do
  local size = tonumber(ARGV[i + 1])
  local fields = {}
  for f = 1, size do fields[f] = ARGV[i + 1 + f] end
  append(ARGV[i], fields)
  i = i + 2 + size
  count = count + 1
end
finish()
redis.call("SET", KEYS[2], ARGV[1], "EX", 86400)
return count
