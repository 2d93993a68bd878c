-- Sliding windows: no span of the window's length holds more than its limit.
--
-- Up to an hour: an exact log, zset <key>: lease -> stamp. Longer: the log is kept in slices of a 288th of the window, zset
-- <key>: slice -> its end, so that its memory does not grow with the limit; a slice counts until its last moment has left the
-- window, which is at most one slice's length stricter. What an entry counts stands in the hash <key>:n (entry -> cost, @sum ->
-- their sum), but for requests in an exact log, which count one each.
--
-- Each kind of window has the same functions. w: the window (windows_of in windows.lua). A place is what a lease's record keeps
-- of its stamp there. cost: requests or tokens. own: { lease, place, cost } of a lease that is not to be counted.
--   free_from(w, t, cost, own)   the earliest moment from t on at which so much fits, given what is counted now
--   add(w, lease, t, cost, spent)    stamps; returns the place
--   move(w, lease, place, cost, t)   it is spent, and its stamp is at t now; returns the new place
--   remove(w, lease, place, cost)    gives it back
--   adjust(w, lease, place, more)    it costs so much more (or less)
--   used(w, t)                   what is counted now, for people
--   step_back(w, t)              the clock went back to t: what lies ahead counts one full window from t on
local EXACT_MS = 3600000
local SLICES = 288
local KEPT_MS = 60000

local Sliding = {}

local function slice_ms(w) return w.ms > EXACT_MS and math.ceil(w.ms / SLICES) or nil end
local function costs_of(w) return (w.unit == 'tokens' or w.ms > EXACT_MS) and w.key .. ':n' or nil end

local function drop(w, costs, entries)
  for i = 1, #entries, 500 do
    local chunk = { unpack(entries, i, math.min(i + 499, #entries)) }
    local sum = 0
    for _, cost in ipairs(redis.call('HMGET', costs, unpack(chunk))) do sum = sum + num(cost) end
    if sum ~= 0 then redis.call('HINCRBY', costs, '@sum', -sum) end
    redis.call('HDEL', costs, unpack(chunk))
  end
end

local function trim(w, t)
  local before, costs = ms(t - w.ms - w.guard), costs_of(w)
  if costs then drop(w, costs, redis.call('ZRANGEBYSCORE', w.key, '-inf', before)) end
  redis.call('ZREMRANGEBYSCORE', w.key, '-inf', before)
end

local function request_free_from(w, t, cost, own)
  local over = redis.call('ZCARD', w.key) + cost - w.limit
  local mine = own and redis.call('ZRANK', w.key, own.lease)
  if mine then over = over - 1 end
  if over <= 0 then return t end
  local i = over - 1
  if mine and mine <= i then i = i + 1 end
  local nth = redis.call('ZRANGE', w.key, i, i, 'WITHSCORES')
  return math.max(t, num(nth[2]) + w.ms + w.guard)
end

-- Walks the oldest entries, those that must leave before so much is free.
function Sliding.free_from(w, t, cost, own)
  trim(w, now())
  local costs = costs_of(w)
  if not costs then return request_free_from(w, t, cost, own) end
  local entry = own and (slice_ms(w) and own.place or own.lease)
  local mine = entry and redis.call('HEXISTS', costs, entry) == 1 and own.cost or 0
  local over = num(redis.call('HGET', costs, '@sum')) - mine + cost - w.limit
  if over <= 0 then return t end
  local from = 0
  while true do
    local some = redis.call('ZRANGE', w.key, from, from + 31, 'WITHSCORES')
    if #some == 0 then return t end
    for i = 1, #some, 2 do
      over = over - num(redis.call('HGET', costs, some[i])) + (some[i] == entry and mine or 0)
      if over <= 0 then return math.max(t, num(some[i + 1]) + w.ms + w.guard) end
    end
    from = from + 32
  end
end

function Sliding.add(w, lease, t, cost)
  local slice, costs = slice_ms(w), costs_of(w)
  local entry, leaves = lease, t
  if slice then
    entry = string.format('%.0f', math.floor(t / slice))
    leaves = (math.floor(t / slice) + 1) * slice
  end
  redis.call('ZADD', w.key, ms(leaves), entry)
  redis.call('PEXPIRE', w.key, w.ms * 2 + KEPT_MS)
  if costs then
    redis.call('HINCRBY', costs, entry, cost)
    redis.call('HINCRBY', costs, '@sum', cost)
    redis.call('PEXPIRE', costs, w.ms * 2 + KEPT_MS)
  end
  return slice and entry or ''
end

function Sliding.adjust(w, lease, place, more)
  local costs = costs_of(w)
  local entry = place ~= '' and place or lease
  if more == 0 or not costs or redis.call('HEXISTS', costs, entry) == 0 then return end
  redis.call('HINCRBY', costs, '@sum', more)
  if redis.call('HINCRBY', costs, entry, more) <= 0 and place ~= '' then
    redis.call('HDEL', costs, entry)
    redis.call('ZREM', w.key, entry)
  end
end

function Sliding.remove(w, lease, place, cost)
  if place ~= '' then return Sliding.adjust(w, lease, place, 0 - cost) end
  if costs_of(w) then drop(w, costs_of(w), { lease }) end
  redis.call('ZREM', w.key, lease)
end

function Sliding.move(w, lease, place, cost, t)
  Sliding.remove(w, lease, place, cost)
  return Sliding.add(w, lease, t, cost)
end

function Sliding.used(w, t)
  if not costs_of(w) then return redis.call('ZCOUNT', w.key, ms(t - w.ms), '+inf') end
  if redis.call('ZCOUNT', w.key, '-inf', ms(t - w.ms - w.guard)) > 0 then trim(w, now()) end
  return num(redis.call('HGET', costs_of(w), '@sum'))
end

function Sliding.step_back(w, t)
  local slice = slice_ms(w)
  if not slice then
    for _, lease in ipairs(redis.call('ZRANGEBYSCORE', w.key, '(' .. ms(t), '+inf')) do redis.call('ZADD', w.key, ms(t), lease) end
    return
  end
  local cost = 0
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', w.key, '(' .. ms((math.floor(t / slice) + 1) * slice), '+inf')) do
    cost = cost + num(redis.call('HGET', w.key .. ':n', entry))
    drop(w, w.key .. ':n', { entry })
    redis.call('ZREM', w.key, entry)
  end
  if cost > 0 then Sliding.add(w, '', t, cost) end
end
