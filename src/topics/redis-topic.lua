-- Shared by every script of the Redis topics (set before each of them).
--
-- Keys of a topic, P = prefix .. topic ("vl:topic:detection-results"):
--   P:<shard>          stream; ids are <ms>-<n>: append time on the store's clock and the message's number in its shard,
--                      counted from 1 without gaps, so that two ids tell how many messages lie between them
--   P:meta             hash: shards; <shard>:ms and <shard>:n, the last id of each shard (outlives trimming)
--   P:groups           set of the names of consumer groups
--   P:group:<g>        hash: seen (ms); epoch; inited; member:<name> = instance; and for each shard
--                        pos        everything up to this id is acknowledged (or was lost to trimming)
--                        handed     everything up to this id has been handed out at least once
--                        returned, returns   up to where, and how often, a batch was given back
--                        owner, token        instance that has the shard, and the epoch at which it got it
--                        mark       "<id> <token> <attempt>": a suspect message that is out right now
--                        suspect, strikes    the message that was marked last, and how often its process died
--                        lost       messages trimmed away before they were read
--   P:group:<g>:members      sorted set: consumer's name, score = end of its lease (ms)
--   P:group:<g>:wake:<name>  stream that wakes that consumer's blocked read
--   P:group:<g>:dead:<shard> set of ids put on the dead-letter topic and not yet acknowledged

local function now_ms()
  local t = redis.call("TIME")
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function int(n) return string.format("%.0f", n) end

-- "<ms>-<n>" -> ms, n
local function parts(id)
  local ms, n = string.match(id, "^(%d+)-(%d+)$")
  return tonumber(ms), tonumber(n)
end

local function after(a, b)
  local ams, an = parts(a)
  local bms, bn = parts(b)
  return ams > bms or (ams == bms and an > bn)
end

local function last_id(topic, shard)
  local last = redis.call("HMGET", topic .. ":meta", shard .. ":ms", shard .. ":n")
  if not last[1] then return "0-0" end
  return last[1] .. "-" .. last[2]
end

-- Returns append(shard, fields) and finish(): the last ids are written once a call, not once a message.
local function appender(topic)
  local now, lasts = now_ms(), {}
  local function append(shard, fields)
    local last = lasts[shard]
    if not last then
      local ms, n = parts(last_id(topic, shard))
      last = { ms = ms, n = n }
      lasts[shard] = last
    end
    last.ms = math.max(last.ms, now)
    last.n = last.n + 1
    redis.call("XADD", topic .. ":" .. shard, int(last.ms) .. "-" .. int(last.n), unpack(fields))
  end
  local function finish()
    for shard, last in pairs(lasts) do
      redis.call("HSET", topic .. ":meta", shard .. ":ms", int(last.ms), shard .. ":n", int(last.n))
    end
  end
  return append, finish
end

-- Fencing: the shard belongs to this instance, by this taking, in this run of the store ("" = the run does not matter).
local function owns(group, shard, instance, token, run)
  local held = redis.call("HMGET", group, shard .. ":owner", shard .. ":token")
  if held[1] ~= instance or held[2] ~= token then return false end
  if run == "" then return true end
  return string.find(redis.call("INFO", "server"), "run_id:" .. run, 1, true) ~= nil
end

-- A store at its maxmemory refuses writes that need memory, unless the script has written before. What lets consumers
-- go on must work just then, since only their progress frees memory: it begins with this write of nothing.
local function even_when_full(key) redis.call("HDEL", key, "-") end

-- Wakes the blocked reads of every member except `except`, so that they look at their shards again.
local function wake_others(group, except)
  for _, name in ipairs(redis.call("ZRANGE", group .. ":members", 0, -1)) do
    if name ~= except then redis.call("XADD", group .. ":wake:" .. name, "MAXLEN", 10, "*", "why", "shards") end
  end
end
