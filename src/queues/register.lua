-- Makes key groups known. Those that are not named are removed: they are listed while their queue holds anything (leaving). The
-- windows' logs stay, by account, and age out. Replies the ids of policies that no group may serve.
-- ARGV[1] settings as JSON, with calendar: { zone: "start,start,…" }, routing: the strategy, reserve: share, spans: lengths of
-- windows, "ms,ms", policies: { id: policy }; ARGV[2…] one JSON a group:
-- { id, account, windows: "name:limit:ms:unit:kind:zone;…", maxConcurrent, keys: "a,b", weight, strategy, keyWeights: { key: weight },
--   provider, region, quality, price ("": unknown), promptTokens, imageRule, json, renewed: "a" (keys that begin anew) }
local s = cjson.decode(ARGV[1])
redis.call('HSET', k'settings', 'recordMs', s.recordMs, 'failedRecordMs', s.failedRecordMs, 'imageMs', s.imageMs)
for zone, starts in pairs(s.calendar or {}) do redis.call('HSET', k'calendar', zone, starts) end
-- Another order: all groups find their places in it anew, at the turns that they have.
if s.routing ~= routing() then
  for _, kind in ipairs(kinds_of('')) do
    for _, group in ipairs(redis.call('ZRANGE', ready_of(kind), 0, -1)) do step_aside(group, ready_of(kind), now()) end
  end
  redis.call('HSET', k'settings', 'routing', s.routing)
end
redis.call('HSET', k'settings', 'reserve', s.reserve or 0, 'spans', s.spans or '')
local named = {}
local t = now()
for i = 2, #ARGV do
  local g = cjson.decode(ARGV[i])
  named[g.id] = g
end

-- Groups that are gone, or have no key left, give back what is on its way to them. Their jobs find a stale epoch. Calls under way
-- end as they end.
for _, lease in ipairs(redis.call('ZRANGE', k'leases', 0, -1)) do
  local id, epoch = string.match(lease, '^(.*)#(%d+)$')
  local f = redis.call('HMGET', k('task:' .. id), 's', 'e', 'kg')
  local g = named[f[3] or '']
  if f[2] == epoch and (f[1] == 'taken' or f[1] == 'queued') and not (g and g.keys ~= '') then go_back(id, read(id)) end
end

for id, g in pairs(named) do
  local key = k('group:' .. id)
  local before = redis.call('HGET', key, 'account')
  if before and before ~= g.account then redis.call('SREM', k('groups-of:' .. before), id) end
  redis.call('HSET', key, 'account', g.account, 'windows', g.windows, 'maxConcurrent', g.maxConcurrent, 'keys', g.keys,
    'promptTokens', g.promptTokens, 'imageRule', g.imageRule, 'json', g.json, 'weight', g.weight, 'strategy', g.strategy)
  for one, weight in pairs(g.keyWeights) do redis.call('HSET', key, 'weight:' .. one, weight) end
  redis.call('HSETNX', key, 'guard', '25')
  redis.call('SADD', k'groups', id)
  redis.call('ZREM', k'leaving', id)
  redis.call('SADD', k('groups-of:' .. g.account), id)
  if not redis.call('ZSCORE', ready_of(redis.call('HGET', key, 'kind') or '0'), id) then redis.call('ZADD', k'free', 'NX', ms(t), id) end
  local renewed = split(g.renewed, '[^,]+')
  for _, one in ipairs(renewed) do redis.call('HDEL', key, 'off:' .. one, 'cause') end
  -- With none of its old keys left the group itself begins anew.
  if #renewed > 0 and #renewed == #split(g.keys, '[^,]+') then redis.call('HDEL', key, 'coolUntil') end
  if #renewed > 0 then redis.call('ZADD', k'free', 'XX', 'LT', ms(t), id) end
end

for _, id in ipairs(redis.call('SMEMBERS', k'groups')) do
  if not named[id] then
    redis.call('SREM', k'groups', id)
    redis.call('SREM', k('groups-of:' .. (redis.call('HGET', k('group:' .. id), 'account') or id)), id)
    redis.call('ZREM', k'free', id)
    local kind = redis.call('HGET', k('group:' .. id), 'kind') or '0'
    redis.call('ZREM', ready_of(kind), id)
    redis.call('ZREM', spare_of(kind), id)
    redis.call('ZREM', k'active', id)
    redis.call('ZADD', k'leaving', ms(t), id)
  end
end
local unserved = route_policies(s.policies or {}, named, t)
-- A group that can call again may be all that was waited for.
if redis.call('EXISTS', k'wait') == 1 then redis.call('PUBLISH', k'wake', '') end
return unserved
