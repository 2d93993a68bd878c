-- How many names are in the set of what was forgotten, and the ids of the outbox's entries up to a place. KEYS: outbox, note, set
-- (outbox-advance.lua). ARGV: the place that a transaction has committed last ("": none), the place asked for, the note as the caller
-- knows it. Replies false where the note is another: the store came back without its newest writes, or another writer is at it. New
-- entries come after both places: a store that came back so would give out ids again that are committed as published.
local outbox, committed, upto = KEYS[1], ARGV[1], ARGV[2]
if (redis.call("GET", KEYS[2]) or "") ~= ARGV[3] then return false end
if committed ~= "" then
  if redis.call("EXISTS", outbox) == 0 then
    redis.call("XADD", outbox, committed, "x", "")
    redis.call("XDEL", outbox, committed)
  else
    local info = redis.call("XINFO", "STREAM", outbox)
    for i = 1, #info, 2 do
      if info[i] == "last-generated-id" then
        local ms, n = string.match(info[i + 1], "^(%d+)-(%d+)$")
        local cms, cn = string.match(committed, "^(%d+)-(%d+)$")
        if tonumber(ms) < tonumber(cms) or (tonumber(ms) == tonumber(cms) and tonumber(n) < tonumber(cn)) then
          redis.call("XSETID", outbox, committed)
        end
      end
    end
  end
end
local ids = {}
for _, entry in ipairs(redis.call("XRANGE", outbox, "-", upto)) do ids[#ids + 1] = entry[1] end
return { redis.call("SCARD", KEYS[3]), ids }
