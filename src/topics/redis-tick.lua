-- Keeps a consumer a member of its group and gives it its fair share of the shards.
-- KEYS: topic, group. ARGV: name, instance, leaseMs, join ("1": first time, replaces an earlier instance of this name),
-- from ("earliest" or "latest"), group's plain name.
-- Returns { "ok", how many shards to give up, { shard, token, pos, handed, returned, returns } … }, or { "replaced" }
-- when another living instance has this name.
local topic, group = KEYS[1], KEYS[2]
local members = group .. ":members"
local name, instance, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local shards = tonumber(redis.call("HGET", topic .. ":meta", "shards"))
local now = now_ms()
even_when_full(group)

-- The store's clock was set back: no lease ends later than a new one would.
for _, other in ipairs(redis.call("ZRANGEBYSCORE", members, int(now + lease * 2), "+inf")) do
  redis.call("ZADD", members, int(now + lease), other)
end

-- Nobody was seen for most of a lease: the store was away, not the consumers. All get a new lease before any is judged.
local seen = tonumber(redis.call("HGET", group, "seen") or now)
if now - seen > lease * 2 / 3 then
  for _, other in ipairs(redis.call("ZRANGE", members, 0, -1)) do redis.call("ZADD", members, now + lease, other) end
end
redis.call("HSET", group, "seen", int(now))

local changed = false
for _, dead in ipairs(redis.call("ZRANGEBYSCORE", members, "-inf", int(now))) do
  if dead ~= name then
    redis.call("ZREM", members, dead)
    redis.call("HDEL", group, "member:" .. dead)
    redis.call("DEL", group .. ":wake:" .. dead)
    changed = true
  end
end

local known = redis.call("HGET", group, "member:" .. name)
if known and known ~= instance and ARGV[4] ~= "1" then
  if tonumber(redis.call("ZSCORE", members, name) or 0) > now then return { "replaced" } end
end
if known ~= instance then
  redis.call("HSET", group, "member:" .. name, instance)
  changed = true
end
redis.call("ZADD", members, int(now + lease), name)

-- Shards without a position yet: a new group, or a topic that has grown.
if tonumber(redis.call("HGET", group, "inited") or 0) < shards then
  redis.call("SADD", topic .. ":groups", ARGV[6])
  for s = 0, shards - 1 do
    if redis.call("HEXISTS", group, s .. ":pos") == 0 then
      local pos = last_id(topic, s)
      if ARGV[5] ~= "latest" then
        local first = redis.call("XRANGE", topic .. ":" .. s, "-", "+", "COUNT", 1)[1]
        if first then
          local ms, n = parts(first[1])
          pos = int(ms) .. "-" .. int(n - 1)
        end
      end
      redis.call("HSET", group, s .. ":pos", pos, s .. ":handed", pos)
    end
  end
  redis.call("HSET", group, "inited", shards)
end

-- Fair shares: every member floor or ceil of shards ÷ members, the first ones by name the larger share.
local alive, quota = {}, 0
local names = redis.call("ZRANGE", members, 0, -1)
table.sort(names)
for i, other in ipairs(names) do
  alive[redis.call("HGET", group, "member:" .. other) or ""] = true
  if other == name then quota = math.floor(shards / #names) + (i <= shards % #names and 1 or 0) end
end

local mine, free = {}, {}
for from = 0, shards - 1, 1000 do -- Lua hands over so many arguments at once, and not many thousands
  local fields = {}
  for s = from, math.min(from + 999, shards - 1) do fields[#fields + 1] = s .. ":owner" end
  local owners = redis.call("HMGET", group, unpack(fields))
  for i = 1, #fields do
    local s, owner = from + i - 1, owners[i]
    if owner == instance then mine[#mine + 1] = s
    elseif not owner or owner == "" or not alive[owner] then free[#free + 1] = s end
  end
end
for _, s in ipairs(free) do
  if #mine >= quota then break end
  redis.call("HSET", group, s .. ":owner", instance, s .. ":token", redis.call("HINCRBY", group, "epoch", 1))
  mine[#mine + 1] = s
end
if changed then wake_others(group, name) end

local reply = { "ok", math.max(0, #mine - quota) }
for _, s in ipairs(mine) do
  local row = redis.call("HMGET", group, s .. ":token", s .. ":pos", s .. ":handed", s .. ":returned", s .. ":returns")
  reply[#reply + 1] = { s, row[1], row[2], row[3], row[4] or "0-0", tonumber(row[5] or 0) }
end
return reply
