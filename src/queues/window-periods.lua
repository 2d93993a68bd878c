-- Fixed and calendar windows: counts by period, hash <key>: start of the period (ms) -> cost.
--
-- A period of a fixed window begins at each multiple of its length on the store's clock; a calendar's periods are the days of a
-- zone, whose starts the registration tells (hash <p>calendar: zone -> "start,start,…") and renews. A call within the guard of a
-- boundary counts on both of its sides, so that it fits wherever it arrives. Past the last start that is known, or before
-- the first, nothing is free: what cannot be counted in its own day is not called.
local Periods = {}
local known_starts = {} -- of this run

local function starts_in(zone)
  known_starts[zone] = known_starts[zone] or split(redis.call('HGET', k'calendar', zone) or '', '[^,]+')
  return known_starts[zone]
end

-- The periods that a call at t counts in, as { start, stop }; nil: not known.
local function periods_at(w, t)
  local early, late = t - w.guard, t + w.guard
  local list = {}
  if w.kind == 'fixed' then
    for i = math.floor(early / w.ms), math.floor(late / w.ms) do list[#list + 1] = { i * w.ms, (i + 1) * w.ms } end
    return list
  end
  local starts = starts_in(w.zone)
  if #starts < 2 or early < num(starts[1]) or late >= num(starts[#starts]) then return nil end
  for i = 1, #starts - 1 do
    local start, stop = num(starts[i]), num(starts[i + 1])
    if late >= start and early < stop then list[#list + 1] = { start, stop } end
  end
  return list
end

local function field(start) return string.format('%.0f', start) end

local function counts_in(place, start) return string.find(',' .. place .. ',', ',' .. start .. ',', 1, true) ~= nil end

function Periods.free_from(w, t, cost, own)
  local at = t
  for _ = 1, 8 do
    local periods = periods_at(w, at)
    if not periods then return math.max(at, now() + 1000) end
    local full
    for _, period in ipairs(periods) do
      local start = field(period[1])
      local count = num(redis.call('HGET', w.key, start))
      if own and counts_in(own.place, start) then count = count - own.cost end
      if count + cost > w.limit then full = period[2] end
    end
    if not full then return at end
    at = full + w.guard
  end
  return at
end

-- What is long over goes; some hours of grace for a day of 25.
local function forget_old(w, t)
  if redis.call('HLEN', w.key) <= 4 then return end
  for _, start in ipairs(redis.call('HKEYS', w.key)) do
    if num(start) + w.ms + (w.kind == 'calendar' and 14400000 or 0) < t - w.guard then redis.call('HDEL', w.key, start) end
  end
end

function Periods.add(w, _, t, cost)
  local starts = {}
  for _, period in ipairs(periods_at(w, t) or {}) do
    local start = field(period[1])
    redis.call('HINCRBY', w.key, start, cost)
    starts[#starts + 1] = start
  end
  redis.call('PEXPIRE', w.key, w.ms * 2 + 60000)
  forget_old(w, t)
  return table.concat(starts, ',')
end

function Periods.adjust(w, _, place, more)
  for start in string.gmatch(place, '[^,]+') do
    if redis.call('HEXISTS', w.key, start) == 1 and redis.call('HINCRBY', w.key, start, more) <= 0 then
      redis.call('HDEL', w.key, start)
    end
  end
end

function Periods.remove(w, lease, place, cost) Periods.adjust(w, lease, place, 0 - cost) end

-- Where the periods are not known, the stamp stays where it was.
function Periods.move(w, lease, place, cost, t)
  if not periods_at(w, t) then return place end
  Periods.remove(w, lease, place, cost)
  return Periods.add(w, lease, t, cost)
end

function Periods.used(w, t)
  local most = 0
  for _, period in ipairs(periods_at(w, t) or {}) do
    if period[1] <= t and t < period[2] then most = num(redis.call('HGET', w.key, field(period[1]))) end
  end
  return most
end

-- What was counted ahead counts in the present period and in the next.
function Periods.step_back(w, t)
  local ahead = 0
  local periods = periods_at(w, t)
  if not periods then return end
  for _, start in ipairs(redis.call('HKEYS', w.key)) do
    if num(start) > t + w.guard then
      ahead = ahead + num(redis.call('HGET', w.key, start))
      redis.call('HDEL', w.key, start)
    end
  end
  if ahead == 0 then return end
  local last = periods[#periods]
  for _, period in ipairs(periods) do redis.call('HINCRBY', w.key, field(period[1]), ahead) end
  redis.call('HINCRBY', w.key, field(last[2]), ahead)
end
