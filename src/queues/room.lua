-- Coming into the waiting room, leaving it, and which of its tasks show the same scene.

-- Waiting tasks of one band and routing policy: camera -> turn; with a camera behind it, its tasks.
local function turns_in(band, route) return k('wait:' .. band .. ((route or '') ~= '' and '@' .. route or '')) end

-- Those that are urgent, of one routing policy: id -> capture.
local function urgent_in(route) return k('urgent' .. ((route or '') ~= '' and '@' .. route or '')) end

local function leave_room(id, r)
  local route = r.pc or ''
  if redis.call('ZREM', k'wait', id) == 1 and route ~= '' and redis.call('HINCRBY', k'waits', route, -1) <= 0 then
    redis.call('HDEL', k'waits', route)
  end
  redis.call('ZREM', k'deadlines', id)
  redis.call('ZREM', k('wait-of:' .. r.c), id)
  local turns = turns_in(r.b, route)
  local line = turns .. ':' .. r.c
  redis.call('ZREM', line, id)
  if redis.call('EXISTS', line) == 0 then redis.call('ZREM', turns, r.c) end
  if r.hi == '1' then redis.call('ZREM', urgent_in(route), id) end
end

-- A task of this policy has come into the room: is it the only one there? Then a group may be free that others cannot use.
local function alone_of_its_policy(route)
  if route ~= '' then return redis.call('HINCRBY', k'waits', route, 1) == 1 end
  if redis.call('EXISTS', k'waits') == 0 then return false end
  local others = redis.call('ZCARD', k'wait') - 1
  for _, n in ipairs(redis.call('HVALS', k'waits')) do others = others - num(n) end
  return others == 0
end

-- Some group has places left that only urgent tasks may have.
local function spare_for(route)
  for _, kind in ipairs(kinds_of(route)) do
    if redis.call('EXISTS', spare_of(kind)) == 1 then return true end
  end
  return false
end

local function enter_room(id, r, deadline)
  local was_empty = redis.call('EXISTS', k'wait') == 0
  local route, cap = r.pc or '', num(r.cap)
  local turns = turns_in(r.b, route)
  local entered = redis.call('ZADD', k'wait', ms(tonumber(r.b) * 1e14 + cap), id)
  local tell = entered == 1 and alone_of_its_policy(route) or was_empty
  if redis.call('DEL', k'unsuited') == 1 then tell = true end -- a group waits for a task that suits it (take.lua)
  redis.call('ZADD', k('wait-of:' .. r.c), ms(cap), id)
  redis.call('ZADD', turns .. ':' .. r.c, ms(cap), id)
  redis.call('ZADD', turns, 'NX', num(redis.call('HGET', k'turns', r.c)), r.c)
  if deadline > 0 then redis.call('ZADD', k'deadlines', ms(deadline), id) end
  if r.hi == '1' then
    redis.call('ZADD', urgent_in(route), ms(cap), id)
    tell = tell or spare_for(route)
  end
  if tell then redis.call('PUBLISH', k'wake', id) end
end

-- What is probed with this key's call ("group", "key" or both) is under way until then; 0: no more.
local function probing_until(g, key, probe, ends)
  if string.find(probe, 'group', 1, true) then redis.call('HSET', g, 'probing', ms(ends)) end
  if string.find(probe, 'key', 1, true) then redis.call('HSET', g, 'probing:' .. key, ms(ends)) end
end

-- Group and key have one call less under way. f: their counts, from `at` on; onto `into`.
local function in_flight_less(f, at, key, into)
  local n = #into
  into[n + 1], into[n + 2] = 'inFlight', math.max(0, num(f[at]) - 1)
  into[n + 3], into[n + 4] = 'inFlight:' .. key, math.max(0, num(f[at + 1]) - 1)
end

-- A task's lease is over, and the call with it as far as we know: one less is under way, and what was probed with it may be
-- probed again.
local function lease_over(r)
  local g = k('group:' .. r.kg)
  if not r.in_flight_counted then
    local f = redis.call('HMGET', g, 'account', 'inFlight', 'inFlight:' .. r.key)
    if not f[1] then return end
    local record = {}
    in_flight_less(f, 2, r.key, record)
    redis.call('HSET', g, unpack(record))
    probing_until(g, r.key, r.p or '', 0)
  end
  if (r.p or '') ~= '' then redis.call('ZADD', k'free', 'XX', 'LT', ms(now()), r.kg) end
  lighten(r.kg)
end

-- Removes a task from wherever it stands; its lease's places are given back when it was surely not spent.
local function leave_everything(id, r)
  if r.s == 'waiting' then
    leave_room(id, r)
  elseif r.s == 'taken' or r.s == 'queued' then
    local lease = id .. '#' .. r.e
    if redis.call('ZREM', k'leases', lease) == 1 then unstamp(lease) end
  elseif r.s == 'calling' then
    redis.call('ZREM', k'calls', id)
    redis.call('SREM', k('calls-of:' .. (r.w or '')), id)
    -- Its place among the calls in flight stays: the provider may still be at it. It falls when the call is settled, or
    -- with the call's own time-out.
  end
  if r.s == 'taken' or r.s == 'queued' or r.s == 'calling' then lease_over(r) end
end

local function read(id)
  local flat = redis.call('HGETALL', k('task:' .. id))
  if #flat == 0 then return nil end
  local r = {}
  for i = 1, #flat, 2 do r[flat[i]] = flat[i + 1] end
  return r
end

-- Share of equal tracks, else overlap of the boxes: is it the same scene? sig: "x1,y1,x2,y2|track,track"
local function same_scene(a, b)
  local abox, atracks = string.match(a or '', '^([^|]*)|(.*)$')
  local bbox, btracks = string.match(b or '', '^([^|]*)|(.*)$')
  if not abox or not bbox then return false end
  if atracks ~= '' and btracks ~= '' then
    local seen, both, n = {}, 0, 0
    for _, x in ipairs(split(atracks, '[^,]+')) do seen[x] = true; n = n + 1 end
    for _, x in ipairs(split(btracks, '[^,]+')) do if seen[x] then both = both + 1 else n = n + 1 end end
    return both * 2 > n
  end
  local p, q = split(abox, '[^,]+'), split(bbox, '[^,]+')
  for i = 1, 4 do p[i] = tonumber(p[i]); q[i] = tonumber(q[i]); if not p[i] or not q[i] then return false end end
  local w = math.min(p[3], q[3]) - math.max(p[1], q[1])
  local h = math.min(p[4], q[4]) - math.max(p[2], q[2])
  if w <= 0 or h <= 0 then return false end
  local inter = w * h
  local union = (p[3] - p[1]) * (p[4] - p[2]) + (q[3] - q[1]) * (q[4] - q[2]) - inter
  return union > 0 and inter / union >= 0.5
end

-- Later by capture, then by place in the topic.
local function later(cap_a, ord_a, cap_b, ord_b)
  if cap_a ~= cap_b then return cap_a > cap_b end
  return (ord_a or '') > (ord_b or '')
end

-- The waiting task of another message that shows the same scene, and its record; or nil.
local function same_waiting(camera, message, sig)
  local ids = redis.call('ZREVRANGE', k('wait-of:' .. camera), 0, 63)
  for _, other in ipairs(ids) do
    local f = redis.call('HMGET', k('task:' .. other), 'sig', 'm', 'ns')
    if f[2] ~= message and f[3] ~= '1' and same_scene(f[1], sig) then return other, read(other) end
  end
end
