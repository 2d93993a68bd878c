-- Deletes all messages up to these places, inclusive. KEYS: topic. ARGV: for each shard its place. Returns how many.
local deleted = 0
for i, place in ipairs(ARGV) do
  local ms, n = parts(place)
  deleted = deleted + redis.call("XTRIM", KEYS[1] .. ":" .. (i - 1), "MINID", "=", int(ms) .. "-" .. int(n + 1))
end
return deleted
