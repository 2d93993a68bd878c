-- Quota windows: sliding logs of stamps, one zset an account and window.

-- windows: "name:limit:windowMs;…". A name that begins with @ is shared by all groups that have it.
local function windows_of(group)
  local key = k('group:' .. group)
  local f = redis.call('HMGET', key, 'windows', 'account', 'guard', 'maxConcurrent')
  local list = {}
  for name, limit, window in string.gmatch(f[1] or '', '([^:;]+):([^:;]+):([^:;]+)') do
    local owner = string.sub(name, 1, 1) == '@' and 'all' or (f[2] or group)
    list[#list + 1] = { key = k('window:' .. owner .. ':' .. name), limit = tonumber(limit), ms = tonumber(window), name = name }
  end
  return list, num(f[3]), num(f[4]), k('window:' .. (f[2] or group) .. ':concurrent')
end

-- The earliest time from t on at which a call fits into every window (the lease `own` not counted): 0 when it is t itself,
-- else that time, and the window that made it wait. Stamps may lie ahead of t: leases are granted a little early.
local function free_at(group, t, own)
  local list, guard, most, slots = windows_of(group)
  local at, why = 0, ''
  for _, w in ipairs(list) do
    local from = t - w.ms - guard
    redis.call('ZREMRANGEBYSCORE', w.key, '-inf', ms(from))
    local n = redis.call('ZCARD', w.key)
    local mine = own and redis.call('ZRANK', w.key, own)
    if mine then n = n - 1 end
    if n >= w.limit then
      local i = n - w.limit
      if mine and mine <= i then i = i + 1 end
      local nth = redis.call('ZRANGE', w.key, i, i, 'WITHSCORES')
      local frees = num(nth[2]) + w.ms + guard
      if frees > at then at, why = frees, w.name end
    end
  end
  if most > 0 then
    redis.call('ZREMRANGEBYSCORE', slots, '-inf', ms(t))
    local n = redis.call('ZCARD', slots)
    if own and redis.call('ZSCORE', slots, own) then n = n - 1 end
    if n >= most then
      local first = redis.call('ZRANGE', slots, 0, 0, 'WITHSCORES')
      -- A slot usually falls long before its end: settle frees the group at once; this is only the safety net.
      local frees = math.min(num(first[2]), t + 1000)
      if frees > at then at, why = frees, 'maxConcurrent' end
    end
  end
  return at, why
end

local function stamp(group, lease, t, slot_until)
  local list, _, most, slots = windows_of(group)
  for _, w in ipairs(list) do
    redis.call('ZADD', w.key, ms(t), lease)
    redis.call('PEXPIRE', w.key, math.ceil(w.ms * 2 + 60000))
  end
  if most > 0 then redis.call('ZADD', slots, ms(slot_until), lease) end
end

-- Gives all places of a lease back: only ever for one that was surely not spent.
local function unstamp(group, lease)
  local list, _, _, slots = windows_of(group)
  for _, w in ipairs(list) do redis.call('ZREM', w.key, lease) end
  redis.call('ZREM', slots, lease)
  redis.call('ZADD', k'free', 'XX', 'LT', ms(now()), group)
end

local function free_slot(group, lease)
  local f = redis.call('HMGET', k('group:' .. group), 'account', 'maxConcurrent')
  if num(f[2]) > 0 then
    if redis.call('ZREM', k('window:' .. (f[1] or group) .. ':concurrent'), lease) == 1 then
      redis.call('ZADD', k'free', 'XX', 'LT', ms(now()), group)
    end
  end
end
