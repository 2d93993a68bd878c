-- KEYS: topic, group. Returns { messages, oldest age in ms, lost }.
local topic, group = KEYS[1], KEYS[2]
local shards = tonumber(redis.call("HGET", topic .. ":meta", "shards") or 0)
local now = now_ms()
local messages, age, lost = 0, 0, 0
for s = 0, shards - 1 do
  local row = redis.call("HMGET", group, s .. ":pos", s .. ":lost")
  local pos = row[1] or "0-0"
  lost = lost + tonumber(row[2] or 0)
  local _, last = parts(last_id(topic, s))
  local _, read = parts(pos)
  local first = redis.call("XRANGE", topic .. ":" .. s, "(" .. pos, "+", "COUNT", 1)[1]
  if first then
    local ms, n = parts(first[1])
    messages = messages + last - n + 1
    age = math.max(age, now - ms)
    last = n - 1
  end
  -- A group that has never been here has lost nothing: it will begin with what there is.
  if row[1] then lost = lost + math.max(0, last - read) end
end
return { messages, age, lost }
