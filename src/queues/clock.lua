-- All scores of the set are moments, which move back by so much.
local function move_back(set, delta)
  for from = 0, redis.call('ZCARD', set) - 1, 1000 do
    local moved, some = {}, redis.call('ZRANGE', set, from, from + 999, 'WITHSCORES')
    for i = 1, #some, 2 do moved[i], moved[i + 1] = ms(num(some[i + 1]) - delta), some[i] end
    redis.call('ZADD', set, unpack(moved))
  end
end

-- A step back of the store's clock by more than 5 s: what was stamped in the new future counts from now on, one full
-- window long; moments that lie ahead move with the clock, as do those that tell how long ago something was.
local function clock_stepped_back(now, last)
  local delta = last - now
  local seen = {}
  local function step_back(g)
    local list, _, slots = windows_of(g)
    for _, w in ipairs(list) do
      if not seen[w.key] then w.law.step_back(w, now) end
      seen[w.key] = true
    end
    if not seen[slots] then move_back(slots, delta) end
    seen[slots] = true
    redis.call('HDEL', k('group:' .. g), 'waitsFor', 'waitsUntil')
  end
  for _, g in ipairs(redis.call('ZRANGE', k'leaving', 0, -1)) do step_back(g) end
  for _, g in ipairs(redis.call('SMEMBERS', k'groups')) do
    step_back(g)
    -- What is disabled or open stays so, and is probed at once.
    redis.call('HDEL', k('group:' .. g), 'slowUntil', 'medianAt', 'shareAt', 'shareFailed', 'shareOk')
    for _, field in ipairs(redis.call('HKEYS', k('group:' .. g))) do
      local name = string.match(field, '^[^:]+')
      if name == 'coolUntil' or name == 'probeAt' or name == 'probing' or name == 'until' then redis.call('HDEL', k('group:' .. g), field) end
    end
    redis.call('ZADD', k'free', ms(now), g)
  end
  for _, set in ipairs({'deadlines', 'leases', 'calls', 'active', 'leaving', 'images', 'failed'}) do move_back(k(set), delta) end
  redis.call('DEL', k'held', k'held-seen') -- living workers say so again within a second
  local urgent = redis.call('HGETALL', k'urgent-seen')
  for i = 1, #urgent, 2 do
    local x, at = string.match(urgent[i + 1], '^(.*)@(.*)$')
    redis.call('HSET', k'urgent-seen', urgent[i], x .. '@' .. ms(num(at) - delta))
  end
  -- A second earlier than now: also who was looked at just before may have changed since.
  local states = redis.call('HGETALL', k'key-group-states')
  for i = 1, #states, 2 do
    local at, state = string.match(states[i + 1], '^(%S+)( .*)$')
    if num(at) > now - 1000 then redis.call('HSET', k'key-group-states', states[i], string.format('%.0f', now - 1000) .. state) end
  end
  local ids = redis.call('ZRANGE', k'wait', 0, -1)
  for _, id in ipairs(redis.call('ZRANGE', k'calls', 0, -1)) do ids[#ids + 1] = id end
  for _, lease in ipairs(redis.call('ZRANGE', k'leases', 0, -1)) do ids[#ids + 1] = string.match(lease, '^(.*)#%d+$') end
  for _, id in ipairs(ids) do
    local dl = num(redis.call('HGET', k('task:' .. id), 'dl'))
    if dl > 0 then redis.call('HSET', k('task:' .. id), 'dl', ms(dl - delta)) end
    redis.call('HDEL', k('task:' .. id), 'nountil')
  end
  redis.call('HINCRBY', k'counters', 'clockSteps', 1)
end

-- TIME is read once a script.
local NOW
local function read_clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000, num(redis.call('GET', k'clock'))
end

-- The store's time in ms for those who only look: no lease and no window goes by it, so it is kept once a second alone, which
-- costs a write to disk. By that a step back is noticed; where nothing else goes on, one of 5 to 6 s may not be, and time stands
-- still for as long.
local function at_a_glance()
  if NOW then return NOW end
  local t, last = read_clock()
  if t - last > 1000 or last - t > 5000 then return now() end
  return math.max(t, last)
end

-- The store's time in ms, never running backwards.
function now()
  if NOW then return NOW end
  local last
  NOW, last = read_clock()
  if last - NOW > 5000 then
    redis.call('SET', k'clock', ms(NOW))
    clock_stepped_back(NOW, last)
  elseif last > NOW then
    NOW = last
  else
    redis.call('SET', k'clock', ms(NOW))
  end
  return NOW
end
