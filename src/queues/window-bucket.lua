-- Token buckets: a bucket holds `limit` and refills evenly within the window's length.
--
-- Kept as the moment at which it will be full again, hash <key>: full -> ms, as in the generic cell rate algorithm (ATM
-- Forum, Traffic Management 4.0, 4.4.2, "virtual scheduling"): work of cost * ms/limit is done one after the other, and a
-- call fits while the work that is left, its own with it, takes no longer than the window's length.
--
-- Giving back work that was added a while ago must not give back what has refilled since: without that work the bucket would
-- have been full for a part of the time, and what drips into a full bucket is lost. So given back is the work less the time since
-- its stamp, or all of it as far as the bucket was busy enough at every stamp since: <key>: s<n> -> the least work that was left at a
-- stamp within the n-th slice of 2 s, of the last minute. Both are never more than what is right.
local Bucket = {}
local SLICE_MS = 2000
local SLICES_KEPT = 32

local function per_unit(w) return w.ms / w.limit end

-- A place is "stamp@ms of work a unit": the limit may be another one by the time that the work is given back.
local function place_at(w, t) return ms(t) .. '@' .. string.format('%.17g', per_unit(w)) end
local function read_place(place)
  local s, unit = string.match(place, '^(.-)@(.*)$')
  return num(s), num(unit)
end

local function full_at(w) return num(redis.call('HGET', w.key, 'full')) end

local function slice_of(n) return 's' .. string.format('%.0f', n) end

-- One slice beyond the present one: leases are granted a little ahead.
local function busy_since(w, s, t)
  local from, to = math.floor(s / SLICE_MS), math.floor(t / SLICE_MS) + 1
  if to - from > SLICES_KEPT then return 0 end
  local least = math.huge
  for n = from, to do
    local left = redis.call('HGET', w.key, slice_of(n))
    if left then least = math.min(least, num(left)) end
  end
  return least
end

-- Of so much work stamped at s, what may be given back at t.
local function credit(w, work, s, t)
  if s > t + 1000 then return 0 end
  return math.max(0, work - math.max(t - s, 0), math.min(work, busy_since(w, s, t)))
end

local function note_left(w, left, t)
  local slice = slice_of(math.floor(t / SLICE_MS))
  local known = redis.call('HGET', w.key, slice)
  if not known or left < num(known) then redis.call('HSET', w.key, slice, ms(math.max(left, 0))) end
  if not known and redis.call('HLEN', w.key) > SLICES_KEPT * 2 then
    local oldest = math.floor(t / SLICE_MS) - SLICES_KEPT
    for _, name in ipairs(redis.call('HKEYS', w.key)) do
      if name ~= 'full' and num(string.sub(name, 2)) < oldest then redis.call('HDEL', w.key, name) end
    end
  end
end

local function take_back(w, work, s, t)
  local back = credit(w, work, s, t)
  -- From now on the bucket is reckoned as one that never had this work: less was left at each stamp since.
  local last = math.floor(t / SLICE_MS) + 1
  for n = math.max(math.floor(s / SLICE_MS), last - SLICES_KEPT), last do
    local left = redis.call('HGET', w.key, slice_of(n))
    if left then redis.call('HSET', w.key, slice_of(n), ms(math.max(num(left) - work, 0))) end
  end
  redis.call('HSET', w.key, 'full', ms(full_at(w) - back))
end

function Bucket.free_from(w, t, cost, own)
  local full = full_at(w)
  if own then
    local s, unit = read_place(own.place)
    full = full - credit(w, own.cost * unit, s, now())
  end
  return math.max(t, full + cost * per_unit(w) - w.ms + w.guard)
end

function Bucket.add(w, _, t, cost)
  local full = full_at(w)
  note_left(w, full - t, t)
  redis.call('HSET', w.key, 'full', ms(math.max(full, t) + cost * per_unit(w)))
  redis.call('PEXPIRE', w.key, w.ms * 2 + 60000)
  return place_at(w, t)
end

function Bucket.remove(w, _, place, cost, t)
  local s, unit = read_place(place)
  take_back(w, cost * unit, s, t)
end

function Bucket.adjust(w, lease, place, more, t)
  local _, unit = read_place(place)
  if more < 0 then return Bucket.remove(w, lease, place, 0 - more, t) end
  redis.call('HSET', w.key, 'full', ms(full_at(w) + more * unit))
end

function Bucket.move(w, lease, place, cost, t)
  Bucket.remove(w, lease, place, cost, now())
  return Bucket.add(w, lease, t, cost)
end

function Bucket.used(w, t)
  return math.max(0, math.min(w.limit, math.ceil((full_at(w) - t) / per_unit(w) - 0.001)))
end

function Bucket.step_back(w, t)
  local full = full_at(w)
  redis.call('DEL', w.key)
  if full <= t then return end
  redis.call('HSET', w.key, 'full', ms(math.min(full, t + w.ms)))
  redis.call('PEXPIRE', w.key, w.ms * 2 + 60000)
end
