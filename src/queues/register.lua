-- Makes key groups known. Those that are not named are removed: they are listed while their queue holds anything (leaving). The
-- windows' logs stay, by account, and age out. Replies the ids of policies that no group may serve.
-- ARGV[1] settings as JSON, with calendar: { zone: "start,start,…" }, routing: the strategy, reserve: share, spans: lengths of
-- windows, "ms,ms", policies: { id: policy }; ARGV[2…] one JSON a group:
-- { id, account, windows: "name:limit:ms:unit:kind:zone;…", maxConcurrent, keys: "a,b", weight, strategy, keyWeights: { key: weight },
--   provider, region, quality, price ("": unknown), promptTokens, imageRule, json, renewed: "a" (keys that begin anew) }
local s = cjson.decode(ARGV[1])
redis.call('HSET', k'settings', 'recordMs', s.recordMs, 'failedRecordMs', s.failedRecordMs, 'imageMs', s.imageMs)
for zone, starts in pairs(s.calendar or {}) do redis.call('HSET', k'calendar', zone, starts) end
-- Another order: all groups find their places in it anew, at the turns that they have (no_further_ahead).
local reordered = s.routing ~= routing()
if reordered then
  for _, kind in ipairs(kinds_of('')) do
    for _, group in ipairs(redis.call('ZRANGE', ready_of(kind), 0, -1)) do step_aside(group, ready_of(kind), now()) end
  end
  redis.call('HSET', k'settings', 'routing', s.routing)
  known_routing = s.routing
end
redis.call('HSET', k'settings', 'reserve', s.reserve or 0, 'spans', s.spans or '')
local named = {}
local t = now()
for i = 2, #ARGV do
  local g = cjson.decode(ARGV[i])
  named[g.id] = g
end

-- id -> set of its keys.
local keys_of = {}
for id, g in pairs(named) do
  keys_of[id] = {}
  for _, key in ipairs(split(g.keys, '[^,]+')) do keys_of[id][key] = true end
end
-- Groups and keys that are gone or switched off give back what is on its way to them.
give_back(function(group, key) return not (keys_of[group] and keys_of[group][key]) end)

-- What its provider held against it is void; what is under way stays so.
local function begins_anew(key, suffix)
  redis.call('HDEL', key, 'coolUntil' .. suffix, 'failures' .. suffix, 'open' .. suffix, 'off' .. suffix, 'probeAt' .. suffix, 'strikes' .. suffix,
    'probing' .. suffix, 'cause' .. suffix, 'reason' .. suffix, 'cools' .. suffix, 'until' .. suffix)
end

local function by_hand(key, suffix, off)
  local field = 'off' .. suffix
  if off then redis.call('HSET', key, field, 'by_hand', 'probeAt' .. suffix, '0', 'probing' .. suffix, '0')
  elseif redis.call('HGET', key, field) == 'by_hand' then begins_anew(key, suffix) end
end

-- What was far ahead by its old weight or strategy would wait for long in vain. key: of the group's record, which is still the old one.
local function no_further_ahead(id, key, g)
  local f = redis.call('HMGET', key, 'weight', 'turn', 'strategy', 'reached', 'kind', 'inFlight')
  if f[2] and (reordered or f[1] ~= g.weight) then
    local turn = turn_within(num(f[2]), s.routing, num(g.weight), num(redis.call('GET', k'reached')))
    if turn < num(f[2]) then
      redis.call('HSET', key, 'turn', string.format('%.17g', turn))
      local place = string.format('%.17g', place_at(turn, num(f[6])))
      redis.call('ZADD', ready_of(f[5] or '0'), 'XX', place, id)
      redis.call('ZADD', spare_of(f[5] or '0'), 'XX', place, id)
    end
  end
  for one, weight in pairs(g.keyWeights) do
    local own = redis.call('HMGET', key, 'weight:' .. one, 'turn:' .. one)
    if own[2] and (f[3] ~= g.strategy or own[1] ~= weight) then
      redis.call('HSET', key, 'turn:' .. one, string.format('%.17g', turn_within(num(own[2]), g.strategy, num(weight), num(f[4]))))
    end
  end
end

-- A key that is not named any more - switched off or gone, which is one and the same here - is forgotten with all that it counted,
-- once no call of it is under way: until then it stays switched off by hand. If it comes back it begins anew. (What its account
-- has called stands in the windows.)
local KEY_FIELDS = { 'coolUntil', 'failures', 'open', 'off', 'probeAt', 'strikes', 'probing', 'cause', 'reason', 'cools', 'until', 'weight', 'turn', 'inFlight', 'calls', 'ok', 'failed' }
local is_key_field, under_way = {}, nil
for _, name in ipairs(KEY_FIELDS) do is_key_field[name] = true end

local function all_under_way()
  local ids, whose = redis.call('ZRANGE', k'calls', 0, -1), {}
  for _, lease in ipairs(redis.call('ZRANGE', k'leases', 0, -1)) do ids[#ids + 1] = string.match(lease, '^(.*)#%d+$') end
  for _, id in ipairs(ids) do
    local f = redis.call('HMGET', k('task:' .. id), 'kg', 'key')
    whose[(f[1] or '') .. '/' .. (f[2] or '')] = true
  end
  return whose
end

local function forget_keys(id, key)
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local name, one = string.match(field, '^(%a+):(.+)$')
    if is_key_field[name or ''] and not keys_of[id][one] then
      under_way = under_way or all_under_way()
      if not under_way[id .. '/' .. one] then redis.call('HDEL', key, field) end
    end
  end
end

-- Of workers that have died: who lives says so every few seconds.
local HELD_KEPT_MS = 60000
local holds = redis.call('HGETALL', k'held')
for i = 1, #holds, 2 do
  if num(holds[i + 1]) < t - HELD_KEPT_MS then redis.call('HDEL', k'held', holds[i]) end
end

for id, g in pairs(named) do
  local key = k('group:' .. id)
  no_further_ahead(id, key, g)
  local f = redis.call('HMGET', key, 'account', 'keys')
  local before = f[1]
  if before and before ~= g.account then redis.call('SREM', k('groups-of:' .. before), id) end
  local known = {}
  for _, one in ipairs(split(f[2], '[^,]+')) do
    known[one] = true
    if not keys_of[id][one] then by_hand(key, ':' .. one, true) end
  end
  for one in pairs(keys_of[id]) do
    if not known[one] then begins_anew(key, ':' .. one) end
  end
  forget_keys(id, key)
  by_hand(key, '', g.keys == '')
  redis.call('HSET', key, 'account', g.account, 'windows', g.windows, 'maxConcurrent', g.maxConcurrent, 'keys', g.keys,
    'promptTokens', g.promptTokens, 'imageRule', g.imageRule, 'json', g.json, 'weight', g.weight, 'strategy', g.strategy)
  for one, weight in pairs(g.keyWeights) do redis.call('HSET', key, 'weight:' .. one, weight) end
  redis.call('HSETNX', key, 'guard', '25')
  redis.call('SADD', k'groups', id)
  redis.call('ZREM', k'leaving', id)
  redis.call('SADD', k('groups-of:' .. g.account), id)
  -- What it waited for may be otherwise now: another window, another account, a key that was switched on. It is asked again.
  if not redis.call('ZSCORE', ready_of(redis.call('HGET', key, 'kind') or '0'), id) then redis.call('ZADD', k'free', 'LT', ms(t), id) end
  local renewed = split(g.renewed, '[^,]+')
  for _, one in ipairs(renewed) do begins_anew(key, ':' .. one) end
  -- With none of its old keys left the group itself begins anew, in BullMQ too.
  if #renewed > 0 and #renewed == #split(g.keys, '[^,]+') then
    begins_anew(key, '')
    redis.call('DEL', k('assess-' .. id) .. ':limiter')
  end
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
redis.call('INCR', k'registrations')
local unserved = route_policies(s.policies or {}, named, t)
-- A group that can call again may be all that was waited for.
if redis.call('EXISTS', k'wait') == 1 then redis.call('PUBLISH', k'wake', '') end
return unserved
