-- Which key group is asked next, and which of its keys makes the call. Set before take.lua. The order is that of turns.lua.

-- The next group in the order, and its kind; or nil. tiers: lists of kinds, those of an earlier list first. passed:
-- kind -> how many at its front were of no use. order_of: ready_of or spare_of.
local function group_in_turn(tiers, passed, order_of)
  for _, kinds in ipairs(tiers) do
    local group, kind, place
    for _, one in ipairs(kinds) do
      local nth = passed[one] or 0
      local head = redis.call('ZRANGE', order_of(one), nth, nth, 'WITHSCORES')
      if head[1] and (not group or num(head[2]) < place) then group, kind, place = head[1], one, num(head[2]) end
    end
    if group then return group, kind end
  end
end

-- A lease with this key was granted.
local function lease_taken(group, key)
  redis.call('HINCRBY', k('group:' .. group), 'inFlight', 1)
  redis.call('HINCRBY', k('group:' .. group), 'inFlight:' .. key, 1)
end

-- Beyond this long since its last task a group has no worker any more, which costs the next one some ms.
local COLD_MS = 55000

-- The group, which stands in this order, was chosen for the nth task of all, so many ms after its last one.
local function count_turn(group, order, nth, since)
  local g = k('group:' .. group)
  local strategy = routing()
  local f = redis.call('HMGET', g, 'turn', 'weight', 'inFlight')
  local reached = num(redis.call('GET', k'reached'))
  local turn
  turn, reached = turn_after(strategy, num(f[2] or '1'), num(f[1]), reached, strategy == 'least_loaded')
  redis.call('HSET', g, 'turn', string.format('%.17g', turn))
  redis.call('SET', k'reached', string.format('%.17g', reached))
  local next_place = place_at(turn, num(f[3]))
  -- Where rounds take so long that workers rest in between, those that were called last are first among equals in the next
  -- one: the earlier they come the likelier their workers are still there. No count is less even for it.
  if since > COLD_MS and (strategy == 'round_robin' or strategy == 'least_loaded') then
    next_place = next_place - (nth % 1048576) / 2097152
  end
  redis.call('ZADD', order, string.format('%.17g', next_place), group)
end

-- Until when the group as a whole takes no call; 0: it may. f: its record's fields disabled, coolUntil, slowUntil.
local function group_rests(f, t)
  if f[1] == '1' then return t + 1000 end
  local rests = math.max(num(f[2]), num(f[3]))
  return rests > t and rests or 0
end

-- Keys of the group that a living worker holds and that may make a call now.
local function keys_that_may(group, all, t)
  local may = {}
  for _, id in ipairs(split(all, '[^,]+')) do
    if num(redis.call('HGET', k'held', group .. '/' .. id)) > t and num(redis.call('HGET', k('group:' .. group), 'off:' .. id)) <= t then
      may[#may + 1] = id
    end
  end
  return may
end

-- One of these keys, by the group's own strategy.
local function pick_key(group, ids)
  if #ids < 2 then return ids[1] end
  local g = k('group:' .. group)
  local strategy = redis.call('HGET', g, 'strategy') or 'round_robin'
  if strategy == 'random' then return ids[1 + math.floor(chance() * #ids)] end
  local best, least
  for _, id in ipairs(ids) do
    local f = redis.call('HMGET', g, 'turn:' .. id, 'inFlight:' .. id)
    local place = num(f[1]) + (strategy == 'least_loaded' and num(f[2]) * LOADED or 0)
    if not best or place < least then best, least = id, place end
  end
  return best
end

-- The key was chosen.
local function count_key_turn(group, key)
  local g = k('group:' .. group)
  local f = redis.call('HMGET', g, 'strategy', 'weight:' .. key, 'turn:' .. key, 'reached', 'keys')
  if f[1] == 'random' or f[5] == key then return end
  local turn, reached = turn_after(f[1], num(f[2] or '1'), num(f[3]), num(f[4]))
  redis.call('HSET', g, 'turn:' .. key, string.format('%.17g', turn), 'reached', string.format('%.17g', reached))
end

-- The key that makes the group's next call; or nil, and when to ask again.
local function choose_key(group, t)
  local f = redis.call('HMGET', k('group:' .. group), 'disabled', 'coolUntil', 'slowUntil', 'keys')
  local rests = group_rests(f, t)
  if rests > 0 then return nil, rests end
  local key = pick_key(group, keys_that_may(group, f[4], t))
  if not key then return nil, t + 250 end
  return key
end
