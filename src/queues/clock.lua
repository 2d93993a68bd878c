-- A step back of the store's clock by more than 5 s: what was stamped in the new future counts from now on, one full
-- window long; moments that lie ahead move with the clock.
local function clock_stepped_back(now, last)
  local delta = last - now
  local seen = {}
  for _, g in ipairs(redis.call('SMEMBERS', k'groups')) do
    for _, w in ipairs((windows_of(g))) do
      if not seen[w.key] then w.law.step_back(w, now) end
      seen[w.key] = true
    end
    -- What is disabled or open stays so, and is probed at once.
    redis.call('HDEL', k('group:' .. g), 'slowUntil', 'medianAt', 'shareAt', 'shareFailed', 'shareOk')
    for _, field in ipairs(redis.call('HKEYS', k('group:' .. g))) do
      local name = string.match(field, '^[^:]+')
      if name == 'coolUntil' or name == 'probeAt' or name == 'probing' or name == 'until' then redis.call('HDEL', k('group:' .. g), field) end
    end
    redis.call('ZADD', k'free', ms(now), g)
  end
  for _, zset in ipairs({'deadlines', 'leases', 'calls'}) do
    local all = redis.call('ZRANGE', k(zset), 0, -1, 'WITHSCORES')
    for i = 1, #all, 2 do redis.call('ZADD', k(zset), ms(num(all[i + 1]) - delta), all[i]) end
  end
  redis.call('DEL', k'held') -- living workers say so again within a second
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

-- The store's time in ms, never running backwards. TIME is read once a script.
local NOW
function now()
  if NOW then return NOW end
  local t = redis.call('TIME')
  NOW = tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000
  local last = num(redis.call('GET', k'clock'))
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
