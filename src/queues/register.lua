-- Makes key groups known. Those that are not named are removed: what was taken for them and not begun goes back to the waiting
-- room, and they are listed while their queue holds anything (leaving). The windows' logs stay, by account, and age out.
-- ARGV[1] settings as JSON, with calendar: { zone: "start,start,…" }; ARGV[2…] one JSON a group:
-- { id, account, windows: "name:limit:ms:unit:kind:zone;…", maxConcurrent, keys: "a,b", promptTokens, imageRule, json }
local s = cjson.decode(ARGV[1])
redis.call('HSET', k'settings', 'recordMs', s.recordMs, 'failedRecordMs', s.failedRecordMs, 'imageMs', s.imageMs)
for zone, starts in pairs(s.calendar or {}) do redis.call('HSET', k'calendar', zone, starts) end
local named = {}
local t = now()
for i = 2, #ARGV do
  local g = cjson.decode(ARGV[i])
  local key = k('group:' .. g.id)
  named[g.id] = true
  local before = redis.call('HGET', key, 'account')
  if before and before ~= g.account then redis.call('SREM', k('groups-of:' .. before), g.id) end
  redis.call('HSET', key, 'account', g.account, 'windows', g.windows, 'maxConcurrent', g.maxConcurrent, 'keys', g.keys,
    'promptTokens', g.promptTokens, 'imageRule', g.imageRule, 'json', g.json)
  redis.call('HSETNX', key, 'guard', '25')
  redis.call('SADD', k'groups', g.id)
  redis.call('ZREM', k'leaving', g.id)
  redis.call('SADD', k('groups-of:' .. g.account), g.id)
  redis.call('ZADD', k'free', 'NX', ms(t), g.id)
end

local removed = {}
for _, id in ipairs(redis.call('SMEMBERS', k'groups')) do
  if not named[id] then
    removed[id] = true
    redis.call('SREM', k'groups', id)
    redis.call('SREM', k('groups-of:' .. (redis.call('HGET', k('group:' .. id), 'account') or id)), id)
    redis.call('ZREM', k'free', id)
    redis.call('ZREM', k'active', id)
    redis.call('ZADD', k'leaving', ms(t), id)
  end
end
if next(removed) then
  for _, lease in ipairs(redis.call('ZRANGE', k'leases', 0, -1)) do
    local id, epoch = string.match(lease, '^(.*)#(%d+)$')
    local r = read(id)
    if r and r.e == epoch and removed[r.kg] and (r.s == 'taken' or r.s == 'queued') then go_back(id, r) end
  end
end
return 'OK'
