-- How a task ends, what is kept of it, and the one way back.

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
    local age = now() - v.at
    -- Not what was stamped before the clock stepped back: nobody knows how old it is. (JSON rounds the stamp to a tenth of a ms.)
    if age > -1 and age <= within and tracks_of(v.sig) == tracks and bits_apart(v.hash, hash) <= BITS_APART then return v end
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
  enter_room(id, r, deadline)
  return 'waiting'
end

-- A lease of this group lapsed before its call began. When that happens again before one begins, its workers are behind, and
-- more jobs would only make them later: it rests for 50 ms, doubling to 2 s, until a call begins (spend.lua).
local function lapsed(group)
  local g = k('group:' .. group)
  if redis.call('EXISTS', g) == 0 or num(redis.call('HGET', g, 'slowUntil')) > now() then return end
  local times = redis.call('HINCRBY', g, 'lapses', 1)
  if times > 1 then redis.call('HSET', g, 'slowUntil', ms(now() + math.min(2000, 50 * 2 ^ math.min(times - 2, 6)))) end
end

-- Tasks on their way to a group or key that takes none now go back at once; their jobs find a stale epoch. Calls under way end as
-- they end. shut: whether this group, key is such a one.
local function give_back(shut)
  for _, lease in ipairs(redis.call('ZRANGE', k'leases', 0, -1)) do
    local id, epoch = string.match(lease, '^(.*)#(%d+)$')
    local f = redis.call('HMGET', k('task:' .. id), 's', 'e', 'kg', 'key')
    if f[2] == epoch and (f[1] == 'taken' or f[1] == 'queued') and shut(f[3], f[4]) then go_back(id, read(id)) end
  end
end
