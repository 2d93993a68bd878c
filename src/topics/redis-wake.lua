-- Ends a consumer's own blocked read, since it wants to read more shards by now. KEYS: group. ARGV: consumer's name.
even_when_full(KEYS[1])
redis.call("XADD", KEYS[1] .. ":wake:" .. ARGV[1], "MAXLEN", 10, "*", "why", "room")
return 1
