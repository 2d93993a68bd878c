-- What each routing policy makes of the key groups, reckoned anew at each registration, so that a take need not look at groups
-- that it may not use. Set before register.lua.
--
-- Groups that all policies treat alike are of one *kind*. <p>routes: policy id -> its kinds, "kind,kind;kind": those before a
-- semicolon are preferred to those after it; "" where it allows none. The policy without an id allows every kind.
-- <p>policies: id -> JSON of every policy that was told, since tasks of an earlier one may still wait, or another bridge
-- have cameras of its own. Bridges renew theirs once a minute (<p>policies-told: id -> when); one of which nothing was heard
-- for POLICY_KEPT_MS, and for as long as a failed task of it may be tried again, is forgotten when none of its tasks waits.
local POLICY_KEPT_MS = 86400000

local function holds(list, one)
  if not list then return true end
  for _, other in ipairs(list) do
    if other == one then return true end
  end
  return false
end

-- Where this group stands in the policy's preference, as text: '' it is not allowed.
local function standing(p, g)
  local price = tonumber(g.price)
  if not holds(p.providers, g.provider) or not holds(p.keyGroups, g.id) or not holds(p.regions, g.region) then return '' end
  if p.minQuality and g.quality < p.minQuality then return '' end
  if p.maxPricePerCall and not (price and price <= p.maxPricePerCall) then return '' end
  if p.prefer == 'cheapest' then return string.format('%.12f', price or 1e9) end
  if p.prefer == 'best' then return string.format('%d', 9 - g.quality) end
  return '-'
end

-- In the order of their preference, as numbers are compared.
local function before(a, b) return (tonumber(a) or 0) < (tonumber(b) or 0) end

local function forget_policies(told, t)
  local kept = math.max(POLICY_KEPT_MS, num(redis.call('HGET', k'settings', 'failedRecordMs')))
  for _, id in ipairs(redis.call('HKEYS', k'policies')) do
    local at = num(redis.call('HGET', k'policies-told', id))
    -- 0: of an earlier version; ahead: the clock has stepped back.
    if told[id] or at == 0 or at > t then redis.call('HSET', k'policies-told', id, ms(t))
    elseif t - at > kept and redis.call('HEXISTS', k'waits', id) == 0 then
      redis.call('HDEL', k'policies', id)
      redis.call('HDEL', k'policies-told', id)
    end
  end
end

-- groups: id -> what registration told. Moves each group to its kind; replies ids of policies that no group with a key may serve.
local function route_policies(told, groups, t)
  for id, policy in pairs(told) do redis.call('HSET', k'policies', id, cjson.encode(policy)) end
  forget_policies(told, t)
  local policies, names = {}, redis.call('HKEYS', k'policies')
  table.sort(names)
  for i, id in ipairs(names) do policies[i] = cjson.decode(redis.call('HGET', k'policies', id)) end
  local ids = {}
  for id in pairs(groups) do ids[#ids + 1] = id end
  table.sort(ids)

  local kinds, standings = {}, {} -- signature -> kind; kind -> standing in each policy
  local served = {} -- by a group with a key
  for nth, group in ipairs(ids) do
    local stands = {}
    for i, policy in ipairs(policies) do
      stands[i] = standing(policy, groups[group])
      if stands[i] ~= '' and groups[group].keys ~= '' then served[i] = true end
    end
    local signature = table.concat(stands, '|')
    if not kinds[signature] then
      standings[#standings + 1] = stands
      kinds[signature] = string.format('%d', #standings - 1)
    end
    local kind, g = kinds[signature], k('group:' .. group)
    local was = redis.call('HGET', g, 'kind') or '0'
    if was ~= kind and redis.call('ZREM', spare_of(was), group) + redis.call('ZREM', ready_of(was), group) > 0 then
      redis.call('ZADD', k'free', ms(t), group)
    end
    redis.call('HSET', g, 'kind', kind, 'part', string.format('%.6f', nth / #ids))
  end

  redis.call('DEL', k'routes')
  local every = {}
  for n = 1, #standings do every[n] = string.format('%d', n - 1) end
  redis.call('HSET', k'routes', '', table.concat(every, ','))
  local unserved = {}
  for i, id in ipairs(names) do
    local by_standing, order = {}, {}
    for n, stands in ipairs(standings) do
      local one = stands[i]
      if one ~= '' then
        if not by_standing[one] then by_standing[one] = {}; order[#order + 1] = one end
        table.insert(by_standing[one], every[n])
      end
    end
    table.sort(order, before)
    for n, one in ipairs(order) do order[n] = table.concat(by_standing[one], ',') end
    redis.call('HSET', k'routes', id, table.concat(order, ';'))
    if told[id] and not served[i] then unserved[#unserved + 1] = id end
  end
  return unserved
end
