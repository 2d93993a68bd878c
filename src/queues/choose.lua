-- Which key group is asked next, and which of its keys makes the call. Set before take.lua.

-- Groups that may be free, in the order in which they are asked: that of their longest rest.
local function groups_in_turn(t) return redis.call('ZRANGEBYSCORE', k'free', '-inf', ms(t), 'LIMIT', 0, 64) end

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

-- One of these keys: the one with the fewest calls so far.
local function pick_key(group, ids)
  local best, least
  for _, id in ipairs(ids) do
    local calls = num(redis.call('HGET', k('group:' .. group), 'n:' .. id))
    if not best or calls < least then best, least = id, calls end
  end
  return best
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
