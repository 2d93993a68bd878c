-- Notes who is in another state than it was last seen in, each change once, whatever number of bridges look.
-- KEYS: states (who -> "at state cause"), changes (stream), counts (who:state -> times).
-- ARGV: 1 when it was looked at (ms, store's clock), 2 most changes kept, 3 "all" or "some"; then for each group or key by turns
--   who ("group" or "group/key"), state, cause, until (ms, "": not known)
-- With "all", who is not named has gone and is forgotten; who is seen for the first time has not changed.
-- Replies how many changes were noted.
local at, most = tonumber(ARGV[1]), ARGV[2]
local seen = {}
if ARGV[3] == 'all' then
  local flat = redis.call('HGETALL', KEYS[1])
  for i = 1, #flat, 2 do seen[flat[i]] = flat[i + 1] end
end

local noted = 0
for i = 4, #ARGV, 4 do
  local who, state, cause, till = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local last = seen[who]
  if ARGV[3] ~= 'all' then last = redis.call('HGET', KEYS[1], who) end
  seen[who] = nil
  local since, from, why = string.match(last or '', '^(%S+) (%S+) (.*)$')
  -- What another bridge saw later stands.
  if not since or ((from ~= state or why ~= cause) and tonumber(since) < at) then
    redis.call('HSET', KEYS[1], who, ARGV[1] .. ' ' .. state .. ' ' .. cause)
    if since then
      local group, key = string.match(who, '^([^/]+)/?(.*)$')
      local change = { keyGroup = group, keyId = key ~= '' and key or cjson.null, from = from, to = state,
        cause = cause ~= '' and cause or cjson.null, untilMs = tonumber(till) or cjson.null, atMs = at }
      redis.call('XADD', KEYS[2], 'MAXLEN', most, '*', 'json', cjson.encode(change))
      redis.call('HINCRBY', KEYS[3], who .. ':' .. state, 1)
      noted = noted + 1
    end
  end
end
for who in pairs(seen) do
  redis.call('HDEL', KEYS[1], who)
  for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
    if string.sub(field, 1, #who + 1) == who .. ':' then redis.call('HDEL', KEYS[3], field) end
  end
end
return noted
