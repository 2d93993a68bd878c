-- Trims a topic by age, then by bytes. KEYS: topic. ARGV: retentionMs, maxBytes, a group's grace in ms.
-- Never past a live group's position; a group is live when one of its consumers was seen within retention (or grace).
-- Returns { messages trimmed, bytes kept, 1 when a live group's backlog keeps the topic over its bytes }.
local topic, retention, max_bytes = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local shards = tonumber(redis.call("HGET", topic .. ":meta", "shards") or 0)
local now = now_ms()
local live = {}
for _, name in ipairs(redis.call("SMEMBERS", topic .. ":groups")) do
  local group = topic .. ":group:" .. name
  local seen = tonumber(redis.call("HGET", group, "seen") or 0)
  if now - seen <= math.max(retention, tonumber(ARGV[3])) then live[#live + 1] = group end
end

local trimmed, total, sizes, backlog = 0, 0, {}, {}
for s = 0, shards - 1 do
  local stream = topic .. ":" .. s
  sizes[s], backlog[s] = 0, 0
  if redis.call("EXISTS", stream) == 1 then
    local _, last = parts(last_id(topic, s))
    local floor = int(math.max(0, now - retention)) .. "-0"
    for _, group in ipairs(live) do
      local pos = redis.call("HGET", group, s .. ":pos")
      if pos then
        local ms, n = parts(pos)
        backlog[s] = math.max(backlog[s], last - n)
        local keep = int(ms) .. "-" .. int(n + 1)
        if after(floor, keep) then floor = keep end
      end
    end
    trimmed = trimmed + redis.call("XTRIM", stream, "MINID", "=", floor)
    sizes[s] = tonumber(redis.call("MEMORY", "USAGE", stream) or 0)
    total = total + sizes[s]
  end
end

local held = 0
if total > max_bytes then
  for s = 0, shards - 1 do
    local stream = topic .. ":" .. s
    local length = redis.call("XLEN", stream)
    local keep = math.floor(length * max_bytes / total)
    if backlog[s] > keep then
      keep = backlog[s]
      held = 1
    end
    if keep < length then trimmed = trimmed + redis.call("XTRIM", stream, "MAXLEN", "=", keep) end
  end
end
return { trimmed, total, held }
