-- Which key group is asked next, and which of its keys makes the call. Set before take.lua.

-- Groups that may be free, in the order in which they are asked: that of their longest rest.
local function groups_in_turn(t) return redis.call('ZRANGEBYSCORE', k'free', '-inf', ms(t), 'LIMIT', 0, 64) end

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

-- One of these keys: the one with the fewest calls so far.
local function pick_key(group, ids)
  local best, least
  for _, id in ipairs(ids) do
    local calls = num(redis.call('HGET', k('group:' .. group), 'n:' .. id))
    if not best or calls < least then best, least = id, calls end
  end
  return best
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

-- The task for a probe: the least urgent that waits and has time enough to be judged elsewhere when the probe fails; else, of
-- the least urgent ones, that with the longest time.
local PROBE_LOOKS, PROBE_LEFT_MS = 32, 4000
local function probe_task(group, t, median)
  local longest, left_of_it
  for _, id in ipairs(redis.call('ZRANGE', k'wait', 0, PROBE_LOOKS - 1)) do
    local f = redis.call('HMGET', k('task:' .. id), 'dl', 'no', 'nountil', 'c', 'b')
    local left = num(f[1]) > 0 and num(f[1]) - t or math.huge
    if left > 0 and not (f[2] == group and num(f[3]) > t) then
      local found = { id, f[4], f[5] }
      if left >= math.max(PROBE_LEFT_MS, 2 * median) then return unpack(found) end
      if not longest or left > left_of_it then longest, left_of_it = found, left end
    end
  end
  if longest then return unpack(longest) end
end

-- A lease with this key was granted, which ends by then at the latest.
local function lease_taken(group, key, probe, ends)
  local g = k('group:' .. group)
  redis.call('HINCRBY', g, 'inFlight', 1)
  redis.call('HINCRBY', g, 'inFlight:' .. key, 1)
  if probe ~= '' then probing_until(g, key, probe, ends) end
end
