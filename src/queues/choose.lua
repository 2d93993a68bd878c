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

-- Whether the group as a whole may be called ('yes'), with a probe alone ('probe') or not before a time ('no'). f: the fields of
-- its state, then slowUntil.
local function group_rests(f, t)
  local may, at = may_call(state_from(f, 1, ''), t)
  local behind = num(f[8])
  if behind > t then may, at = 'no', math.max(behind, at or 0) end
  return may, at or t + 60000
end

-- Of the group's keys that a living worker holds: those that may make a call now, those that a probe is due for, and when to
-- ask again.
local function keys_that_may(group, all, t)
  local ids, whose, fields = split(all, '[^,]+'), {}, {}
  local may, due, again = {}, {}, t + 60000
  if #ids == 0 then return may, due, again end
  for i, id in ipairs(ids) do
    whose[i] = group .. '/' .. id
    state_fields(fields, ':' .. id)
  end
  local held = redis.call('HMGET', k'held', unpack(whose))
  local f = redis.call('HMGET', k('group:' .. group), unpack(fields))
  for i, id in ipairs(ids) do
    local word, at = 'no', t + 250
    if num(held[i]) > t then word, at = may_call(state_from(f, 7 * i - 6, ':' .. id), t) end
    if word == 'yes' then may[#may + 1] = id
    elseif word == 'probe' then due[#due + 1] = id
    elseif at then again = math.min(again, at) end
  end
  return may, due, again
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

-- The key that makes the group's next call; or nil, and when to ask again. Then what is probed with it ("group", "key",
-- "group,key" or ""), and the key for an ordinary call where there is one besides.
local function choose_key(group, t)
  local fields = {}
  state_fields(fields, '')
  fields[8], fields[9] = 'slowUntil', 'keys'
  local f = redis.call('HMGET', k('group:' .. group), unpack(fields))
  local whole, rests = group_rests(f, t)
  if whole == 'no' then return nil, rests end
  local may, due, again = keys_that_may(group, f[9], t)
  if whole == 'probe' then
    if may[1] then return pick_key(group, may), nil, 'group' end
    if due[1] then return due[1], nil, 'group,key' end
  else
    local key = may[1] and pick_key(group, may)
    if due[1] then return due[1], nil, 'key', key end
    if key then return key, nil, '' end
  end
  return nil, again
end

-- May tasks of this policy go to groups of this kind?
local function allows(route, kind)
  if route == '' then return true end
  for _, one in ipairs(kinds_of(route)) do
    if one == kind then return true end
  end
  return false
end

-- The task for a probe: of those that may go to this group the least urgent, and of one band the newest, that has time enough to be
-- judged elsewhere when the probe fails; else, of those that were looked at, that with the longest time, if that is enough for the
-- group's own usual latency. nil: none is good for it, and none is looked for again before NO_PROBE_MS have passed.
local PROBE_LOOKS, PROBE_LEFT_MS, PROBE_MARGIN_MS, NO_PROBE_MS = 32, 4000, 500, 1000
-- What was last learned of a group's latency so long ago keeps no probe back: it may be quicker now.
local LATENCY_OLD_MS = 300000
local function probe_task(group, kind, t)
  local g = k('group:' .. group)
  local known = redis.call('HMGET', g, 'median', 'medianAt', 'noProbe')
  local usual, none_for = num(known[1]), num(known[3]) - t
  if none_for > 0 and none_for <= NO_PROBE_MS then return nil end
  local enough, longest, left_of_it = math.max(PROBE_LEFT_MS, 2 * usual), nil, 0
  local function first_good(ids)
    for _, id in ipairs(ids) do
      local f = redis.call('HMGET', k('task:' .. id), 'dl', 'no', 'nountil', 'pc')
      local left = num(f[1]) > 0 and num(f[1]) - t or math.huge
      if left > 0 and not (f[2] == group and num(f[3]) > t) and allows(f[4] or '', kind) then
        if left >= enough then return id end
        if left > left_of_it then longest, left_of_it = id, left end
      end
    end
  end
  local routes = {} -- those that bring tasks here; where no task has a policy, `wait` alone tells
  local waits = redis.call('HKEYS', k'waits')
  if waits[1] then waits[#waits + 1] = '' end
  for _, route in ipairs(waits) do
    if #routes < PROBE_LOOKS and allows(route, kind) then routes[#routes + 1] = route end
  end
  for band = 0, BANDS - 1 do
    local good = first_good(redis.call('ZREVRANGEBYSCORE', k'wait', '(' .. ms((band + 1) * 1e14), ms(band * 1e14), 'LIMIT', 0, PROBE_LOOKS))
    -- Others' tasks may be all that was seen of the band: then those of the policies that allow this group, each camera's newest.
    local lines = {}
    for _, route in ipairs(good and {} or routes) do
      local turns = turns_in(band, route)
      for _, camera in ipairs(redis.call('ZREVRANGE', turns, 0, math.floor(PROBE_LOOKS / #routes))) do
        lines[#lines + 1] = redis.call('ZREVRANGE', turns .. ':' .. camera, 0, 0)[1]
      end
    end
    good = good or first_good(lines)
    if good then return good end
  end
  local least = t - num(known[2]) < LATENCY_OLD_MS and usual + PROBE_MARGIN_MS or PROBE_MARGIN_MS
  if left_of_it >= least then return longest end
  redis.call('HSET', g, 'noProbe', ms(t + NO_PROBE_MS))
end

-- A lease with this key was granted, which ends by then at the latest.
local function lease_taken(group, key, probe, ends)
  local g = k('group:' .. group)
  redis.call('HINCRBY', g, 'inFlight', 1)
  redis.call('HINCRBY', g, 'inFlight:' .. key, 1)
  if probe ~= '' then probing_until(g, key, probe, ends) end
end
