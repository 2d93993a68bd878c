-- Token buckets: a bucket holds `limit` and refills evenly within the window's length.
--
-- Kept as the moment at which it will be full again, as in the generic cell rate algorithm (ATM Forum, Traffic Management 4.0,
-- 4.4.2, "virtual scheduling"): work of cost * ms/limit is done one after the other, and a call fits while the work that is
-- left, its own with it, takes no longer than the window's length. Hash <key>: full -> that moment; n -> how often it changed.
-- What is leased and not spent yet is only reserved, without a moment, so that it is given back exactly: hash <key>:r, lease ->
-- cost, @sum -> their sum.
--
-- Giving back work that was spent a while ago must not give back what has refilled since: without that work the bucket would
-- have been full for a part of the time, and what drips into a full bucket is lost. If nothing changed since, the moment before
-- stands again. Else given back is the work less the time since its stamp, or all of it as far as the bucket was busy enough
-- at every stamp since: <key>: s<n> -> the least work that was left at a stamp within the n-th slice of 2 s, of the last
-- minute. Neither is ever more than what is right.
local Bucket = {}
local SLICE_MS = 2000
local SLICES_KEPT = 32
local RESERVED = 'reserved'

local function per_unit(w) return w.ms / w.limit end
local function full_at(w) return num(redis.call('HGET', w.key, 'full')) end
local function slice_of(n) return 's' .. string.format('%.0f', n) end
local function set_full(w, full)
  redis.call('HSET', w.key, 'full', ms(full))
  return redis.call('HINCRBY', w.key, 'n', 1)
end

-- The place of spent work: "stamp@ms of work a unit@full before@n". The limit may be another one when it is given back.
local function read_place(place)
  local part = split(place, '[^@]+')
  return num(part[1]), num(part[2]), num(part[3]), part[4]
end

local function busy_since(w, s, t)
  local from, to = math.floor(s / SLICE_MS), math.floor(t / SLICE_MS)
  if to - from > SLICES_KEPT then return 0 end
  local least = math.huge
  for n = from, to do
    local left = redis.call('HGET', w.key, slice_of(n))
    if left then least = math.min(least, num(left)) end
  end
  return least
end

local function note_left(w, left, t)
  local slice = slice_of(math.floor(t / SLICE_MS))
  local known = redis.call('HGET', w.key, slice)
  if not known or left < num(known) then redis.call('HSET', w.key, slice, ms(math.max(left, 0))) end
  if not known and redis.call('HLEN', w.key) > SLICES_KEPT * 2 then
    local oldest = math.floor(t / SLICE_MS) - SLICES_KEPT
    for _, name in ipairs(redis.call('HKEYS', w.key)) do
      if string.sub(name, 1, 1) == 's' and num(string.sub(name, 2)) < oldest then redis.call('HDEL', w.key, name) end
    end
  end
end

-- The moment at which the bucket would be full without so much of that work.
local function full_without(w, place, cost, whole)
  local s, unit, before, nth = read_place(place)
  local full, t, work = full_at(w), now(), cost * unit
  if whole and redis.call('HGET', w.key, 'n') == nth then return before end
  if s > t + 1000 then return full end -- stamped before the clock stepped back
  return full - math.max(0, work - math.max(t - s, 0), math.min(work, busy_since(w, s, t)))
end

local function take_back(w, place, cost, whole)
  local s, unit = read_place(place)
  local full = full_without(w, place, cost, whole)
  -- From now on the bucket is reckoned as one that never had this work: less was left at each stamp since.
  local last = math.floor(now() / SLICE_MS)
  for n = math.max(math.floor(s / SLICE_MS), last - SLICES_KEPT), last do
    local left = redis.call('HGET', w.key, slice_of(n))
    if left then redis.call('HSET', w.key, slice_of(n), ms(math.max(num(left) - cost * unit, 0))) end
  end
  set_full(w, full)
end

local function unreserve(w, lease)
  local cost = redis.call('HGET', w.key .. ':r', lease)
  if not cost then return end
  redis.call('HDEL', w.key .. ':r', lease)
  redis.call('HINCRBY', w.key .. ':r', '@sum', 0 - num(cost))
end

-- For a lease that is being spent only what was spent counts: the others that are reserved look for themselves.
function Bucket.free_from(w, t, cost, own)
  local full = full_at(w)
  if own and own.place ~= RESERVED then
    full = full_without(w, own.place, own.cost, true)
  elseif not own then
    local reserved = num(redis.call('HGET', w.key .. ':r', '@sum'))
    if reserved > 0 then full = math.max(full, now()) + reserved * per_unit(w) end
  end
  return math.max(t, full + cost * per_unit(w) - w.ms + w.guard)
end

function Bucket.add(w, lease, t, cost, spent)
  if not spent then
    redis.call('HSET', w.key .. ':r', lease, cost)
    redis.call('HINCRBY', w.key .. ':r', '@sum', cost)
    redis.call('PEXPIRE', w.key .. ':r', 86400000) -- no lease lives for a day
    return RESERVED
  end
  local full = full_at(w)
  note_left(w, full - t, t)
  local nth = set_full(w, math.max(full, t) + cost * per_unit(w))
  redis.call('PEXPIRE', w.key, w.ms * 2 + 60000)
  return table.concat({ ms(t), string.format('%.17g', per_unit(w)), ms(full), string.format('%.0f', nth) }, '@')
end

function Bucket.remove(w, lease, place, cost)
  if place == RESERVED then unreserve(w, lease) else take_back(w, place, cost, true) end
end

function Bucket.adjust(w, _, place, more)
  if place == RESERVED then return end
  local _, unit = read_place(place)
  if more < 0 then take_back(w, place, 0 - more) else set_full(w, full_at(w) + more * unit) end
end

function Bucket.move(w, lease, place, cost, t)
  Bucket.remove(w, lease, place, cost)
  return Bucket.add(w, lease, t, cost, true)
end

function Bucket.used(w, t)
  local reserved = num(redis.call('HGET', w.key .. ':r', '@sum'))
  return math.max(0, math.min(w.limit, math.ceil((full_at(w) - t) / per_unit(w) - 0.001) + reserved))
end

function Bucket.step_back(w, t)
  local full = full_at(w)
  redis.call('DEL', w.key)
  if full <= t then return end
  set_full(w, math.min(full, t + w.ms))
  redis.call('PEXPIRE', w.key, w.ms * 2 + 60000)
end
