-- Moves outbox entries to a topic: each is appended and deleted in one step, or was moved before and is left alone.
-- KEYS: outbox, topic. ARGV: for each entry: outbox id, shard, number of fields, fields. Returns how many were moved.
local append, finish = appender(KEYS[2])
local i, moved = 1, 0
while i <= #ARGV do
  local size = tonumber(ARGV[i + 2])
  if #redis.call("XRANGE", KEYS[1], ARGV[i], ARGV[i]) == 1 then
    local fields = {}
    for f = 1, size do fields[f] = ARGV[i + 2 + f] end
    append(ARGV[i + 1], fields)
    redis.call("XDEL", KEYS[1], ARGV[i])
    moved = moved + 1
  end
  i = i + 3 + size
end
finish()
return moved
