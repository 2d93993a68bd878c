-- Shared by every script of this folder. KEYS[1] is always the prefix "{vl}:"; every key stands in that one hash slot.
--
-- Task record, hash <p>task:<id>:
--   s state (waiting|taken|queued|calling|done)   e epoch   a attempts   r revision   o outcome   h hash of its content
--   c camera   cap capturedAt ms   ord order among a camera's messages   dl deadline ms on the store's clock, 0 never
--   b band 0..4   sig bbox and tracks   ns 1: never superseded   since when its scene began to wait   json the task
--   ad, tk, st: admitted, taken, started (ms)   kg key group   key key id   w worker   no, nountil: group to avoid, until
--   un: the last answer when it could not be read, JSON   f refusals so far   img reference of its image   hash of how it looks, reuse ms
-- Waiting:  <p>wait zset id -> band*1e14+cap (the order seen by people and by overflow)
--           <p>wait:<band> zset camera -> turn;  <p>wait:<band>:<camera> zset id -> cap;  <p>wait-of:<camera> zset id -> cap
--           <p>deadlines zset id -> deadline
-- Moving:   <p>leases zset <id>#<epoch> -> lapse time;  <p>calls zset id -> time by which the call must have ended
--           <p>calls-of:<worker> set of ids
-- Groups:   <p>groups set;  <p>group:<id> hash;  <p>free zset group -> next time at which it may be free
--           <p>held hash <group>/<key> -> time until which a living worker holds that key
--           <p>window:<account>:<name> zset lease -> stamp;  <p>window:<account>:concurrent zset lease -> end

local P = KEYS[1]
local BANDS = 5

local function k(name) return P .. name end
local function num(v) return tonumber(v or '0') or 0 end
local function ms(v) return string.format('%.3f', v) end

-- A step back of the store's clock by more than 5 s: what was stamped in the new future counts from now on, one full
-- window long; moments that lie ahead move with the clock.
local function clock_stepped_back(now, last)
  local delta = last - now
  for _, g in ipairs(redis.call('SMEMBERS', k'groups')) do
    local account = redis.call('HGET', k('group:' .. g), 'account') or g
    local wins = redis.call('HGET', k('group:' .. g), 'windows') or ''
    for name in string.gmatch(wins, '([^:;]+):[^;]+') do
      local owner = string.sub(name, 1, 1) == '@' and 'all' or account
      local key = k('window:' .. owner .. ':' .. name)
      local ahead = redis.call('ZRANGEBYSCORE', key, '(' .. ms(now), '+inf')
      for _, m in ipairs(ahead) do redis.call('ZADD', key, ms(now), m) end
    end
    redis.call('HDEL', k('group:' .. g), 'coolUntil', 'medianAt')
    for _, field in ipairs(redis.call('HKEYS', k('group:' .. g))) do
      if string.sub(field, 1, 4) == 'off:' then redis.call('HDEL', k('group:' .. g), field) end
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
local function now()
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

local function split(text, pattern)
  local parts = {}
  for part in string.gmatch(text or '', pattern) do parts[#parts + 1] = part end
  return parts
end

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

local function leave_room(id, band, camera)
  redis.call('ZREM', k'wait', id)
  redis.call('ZREM', k'deadlines', id)
  redis.call('ZREM', k('wait-of:' .. camera), id)
  local line = k('wait:' .. band .. ':' .. camera)
  redis.call('ZREM', line, id)
  if redis.call('EXISTS', line) == 0 then redis.call('ZREM', k('wait:' .. band), camera) end
end

local function enter_room(id, band, camera, cap, deadline)
  local was_empty = redis.call('EXISTS', k'wait') == 0
  redis.call('ZADD', k'wait', ms(tonumber(band) * 1e14 + cap), id)
  redis.call('ZADD', k('wait-of:' .. camera), ms(cap), id)
  redis.call('ZADD', k('wait:' .. band .. ':' .. camera), ms(cap), id)
  redis.call('ZADD', k('wait:' .. band), 'NX', num(redis.call('HGET', k'turns', camera)), camera)
  if deadline > 0 then redis.call('ZADD', k'deadlines', ms(deadline), id) end
  if was_empty then redis.call('PUBLISH', k'wake', id) end
end

-- Removes a task from wherever it stands; its lease's places are given back when it was surely not spent.
local function leave_everything(id, r)
  if r.s == 'waiting' then
    leave_room(id, r.b, r.c)
  elseif r.s == 'taken' or r.s == 'queued' then
    local lease = id .. '#' .. r.e
    if redis.call('ZREM', k'leases', lease) == 1 then unstamp(r.kg, lease) end
  elseif r.s == 'calling' then
    redis.call('ZREM', k'calls', id)
    redis.call('SREM', k('calls-of:' .. (r.w or '')), id)
    -- Its place among the calls in flight stays: the provider may still be at it. It falls when the call is settled, or
    -- with the call's own time-out.
  end
end

local function read(id)
  local flat = redis.call('HGETALL', k('task:' .. id))
  if #flat == 0 then return nil end
  local r = {}
  for i = 1, #flat, 2 do r[flat[i]] = flat[i + 1] end
  return r
end

-- Verdicts that may be used again: <p>verdicts:<camera>, a list, newest first, of {at, hash, sig, verdict, meta}.
local VERDICTS_KEPT = 32
local BITS_APART = 6
local NIBBLE = { ['0']=0, ['1']=1, ['2']=1, ['3']=2, ['4']=1, ['5']=2, ['6']=2, ['7']=3, ['8']=1, ['9']=2, a=2, b=3, c=2, d=3, e=3, f=4 }

local function bits_apart(a, b)
  if #a ~= 16 or #b ~= 16 then return 64 end
  local n = 0
  for i = 1, 16, 4 do
    local x = bit.bxor(tonumber(string.sub(a, i, i + 3), 16), tonumber(string.sub(b, i, i + 3), 16))
    for digit in string.gmatch(string.format('%04x', x), '.') do n = n + NIBBLE[digit] end
  end
  return n
end

local function tracks_of(sig) return string.match(sig or '', '|(.*)$') or '' end

-- The verdict of at most `within` ms ago about exactly these tracks in a near-equal crop; or nil.
local function verdict_again(camera, sig, hash, within)
  local tracks = tracks_of(sig)
  if tracks == '' or hash == '' then return nil end
  for _, text in ipairs(redis.call('LRANGE', k('verdicts:' .. camera), 0, VERDICTS_KEPT - 1)) do
    local v = cjson.decode(text)
    if now() - v.at <= within and tracks_of(v.sig) == tracks and bits_apart(v.hash, hash) <= BITS_APART then return v end
  end
end

local function remember_verdict(r, verdict, meta)
  local reuse = num(r.reuse)
  if reuse <= 0 or (r.hash or '') == '' or tracks_of(r.sig) == '' then return end
  local list = k('verdicts:' .. r.c)
  redis.call('LPUSH', list, cjson.encode({ at = now(), hash = r.hash, sig = r.sig, verdict = verdict, meta = meta }))
  redis.call('LTRIM', list, 0, VERDICTS_KEPT - 1)
  redis.call('PEXPIRE', list, math.ceil(reuse))
end

-- Of failed tasks so many keep what a retry by hand needs; the oldest beyond them live on as any other record does.
local FAILED_KEPT = 5000

local function keep_failed(id, t)
  redis.call('ZADD', k'failed', ms(t), id)
  local beyond = redis.call('ZCARD', k'failed') - FAILED_KEPT
  if beyond <= 0 then return end
  local ordinary = num(redis.call('HGET', k'settings', 'recordMs'))
  local popped = redis.call('ZPOPMIN', k'failed', beyond)
  for i = 1, #popped, 2 do
    redis.call('HDEL', k('task:' .. popped[i]), 'json', 'sig')
    redis.call('PEXPIRE', k('task:' .. popped[i]), ordinary > 0 and ordinary or 7200000, 'LT')
  end
end

-- The end of a task: outcome, fence, image's end of life and outbox entry at once. The record's state `done` is the fence.
-- verdict, err, meta: JSON texts or ''. by: whose call it was, { group, key, startedAt }; else the record says. Keeps what a retry by hand needs when it failed.
local function finish(id, r, outcome, verdict, err, meta, by)
  local t = now()
  leave_everything(id, r)
  if outcome == 'assessed' then remember_verdict(r, verdict, meta) end
  local keep = num(redis.call('HGET', k'settings', outcome == 'failed' and 'failedRecordMs' or 'recordMs'))
  redis.call('HSET', k('task:' .. id), 's', 'done', 'o', outcome)
  redis.call('XADD', k'outbox', '*', 'id', id, 'outcome', outcome, 'epoch', r.e, 'revision', r.r, 'attempts', r.a or '0', 'task', r.json or '',
    'verdict', verdict, 'error', err, 'meta', meta, 'keyGroup', by and by.group or r.kg or '', 'key', by and by.key or r.key or '',
    'admittedAt', r.ad or '', 'takenAt', r.tk or '', 'startedAt', by and by.startedAt or r.st or '', 'completedAt', ms(t))
  if outcome ~= 'failed' then redis.call('HDEL', k('task:' .. id), 'json', 'sig') end
  redis.call('PEXPIRE', k('task:' .. id), keep > 0 and keep or 7200000)
  if outcome == 'failed' then keep_failed(id, t) end
  if r.img and r.img ~= '' then
    local image = num(redis.call('HGET', k'settings', outcome == 'failed' and 'failedRecordMs' or 'imageMs'))
    redis.call('ZADD', k'images', ms(t + (image > 0 and image or 3600000)), r.img)
  end
  redis.call('HINCRBY', k'counters', outcome, 1)
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

-- Back to the waiting room, the one door. Checked again there: past its deadline it expires, beside a newer task of the
-- same scene it is superseded, after too many attempts it fails. Returns what became of it.
local function go_back(id, r, avoid, avoid_ms)
  local t = now()
  leave_everything(id, r)
  r.s = 'back'
  local deadline = num(r.dl)
  if deadline > 0 and deadline <= t then
    finish(id, r, 'expired', '', '{"code":"DEADLINE_PASSED","message":"the deadline passed before a verdict was there"}', '')
    return 'expired'
  end
  if num(r.a) >= 12 then
    finish(id, r, 'failed', '', '{"code":"ATTEMPTS_EXHAUSTED","message":"twelve calls were begun and none was finished"}', '')
    return 'failed'
  end
  if r.ns ~= '1' then
    local other, o = same_waiting(r.c, r.m, r.sig)
    if other and later(num(o.cap), o.ord, num(r.cap), r.ord) then
      finish(id, r, 'superseded', '', '', '')
      return 'superseded'
    end
  end
  redis.call('HSET', k('task:' .. id), 's', 'waiting')
  redis.call('HDEL', k('task:' .. id), 'w', 'st')
  if avoid and avoid ~= '' then redis.call('HSET', k('task:' .. id), 'no', avoid, 'nountil', ms(t + num(avoid_ms))) end
  enter_room(id, r.b, r.c, num(r.cap), deadline)
  return 'waiting'
end
