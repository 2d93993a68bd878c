-- The point of no return: spends a lease at the start of its call. Checks record, lease, key group and all windows again
-- and moves the stamp to now only if it fits; else the task goes back.
-- ARGV: id, epoch, worker, callTimeoutMs, again ("1": the round trip of the spend before was too long; nothing was called
--   yet), stalled ("1": BullMQ found this job without a living worker), patient ("1": may be
--   told to wait)
-- Replies { failed } (this very taking ended as failed; its job may not know) | { wait, ms } (granted ahead of its place in the windows: ask again then) | { granted, timeoutMs, attempts, guardMs, key, unreadable, bounded by the deadline ("1") or as a probe by less than the group is known to need ("2"), stamp, refusals, what is probed } | { back, why, became } | { stale, why }
local id, epoch, worker, timeout, again, stalled = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6] == '1'
local PROBE_MS = 2000 -- a probe has so long at least, where its task has
local t = now()
local r = read(id)
if not r then return { 'stale', 'unknown task' } end
if r.s == 'done' and r.o == 'failed' and r.e == epoch then return { 'failed' } end
if r.s == 'done' then return { 'stale', 'ended already: ' .. (r.o or '') } end
if r.e ~= epoch then return { 'stale', 'taken anew since' } end

local lease = id .. '#' .. epoch
if r.s == 'calling' then
  if r.w ~= worker and not stalled then return { 'stale', 'in a call of another worker' } end
  if not again then return { 'back', 'its worker had gone', go_back(id, r) } end
elseif r.s ~= 'taken' and r.s ~= 'queued' then
  return { 'stale', 'state ' .. r.s }
end

if not again then
  local lapse = redis.call('ZSCORE', k'leases', lease)
  if not lapse or num(lapse) <= t then
    lapsed(r.kg)
    return { 'back', 'the lease had lapsed', go_back(id, r) }
  end
end

local of_key = ':' .. r.key
local f = redis.call('HMGET', k('group:' .. r.kg), 'guard', 'median', 'p95', 'calls', 'calls' .. of_key, 'coolUntil', 'open', 'off',
  'coolUntil' .. of_key, 'open' .. of_key, 'off' .. of_key)
local probe = r.p or ''
-- Why neither an ordinary call may be made now nor, where this is one, its probe; or nil. at: where the state's fields begin
-- (key-state.lua has its law).
local function shut(at, what, whole)
  local probed, off = string.find(probe, what, 1, true), f[at + 2]
  if off == 'by_hand' or (off == 'refused' and not probed) then return whole .. ' is disabled' end
  if num(f[at]) > t or (f[at + 1] == '1' and not probed) then return whole .. ' is cooling' end
end
local why
if redis.call('SISMEMBER', k'groups', r.kg) == 0 then why = 'the key group was removed'
else why = shut(6, 'group', 'the key group') or shut(9, 'key', 'the key') end
if not why then
  local tokens = num(redis.call('HGET', lease_key(lease), 'n'))
  local at, window = free_at(r.kg, t, tokens, lease)
  if at > t + 100 or (at > t and ARGV[7] ~= '1') then why = 'no room in ' .. window
  elseif at > t then return { 'wait', ms(at - t + 0.001) } end -- the next microsecond, not this one again
end
local dl = num(r.dl)
if dl > 0 and dl <= t then why = 'the deadline passed' end
if why then
  -- go_back gives the places back for a lease that waits to be spent; after a first spend without a call, so does this.
  if again then unstamp(lease) end
  return { 'back', why, go_back(id, r) }
end

local limit = dl > 0 and math.min(timeout, dl - t) or timeout
local cut_short = false
if dl > 0 and probe ~= '' then
  -- Half of the time that is left is for another group, where the probe is not answered; but what the group is known to need it
  -- gets, however long ago that was learned, if the task has so much.
  local left, median = dl - t, num(f[2])
  local enough = left < median and 0 or num(f[3]) > 0 and 1.5 * num(f[3]) or 2 * median
  limit = math.min(limit, math.max(left / 2, PROBE_MS, enough))
  cut_short = limit < left and limit < math.min(timeout, median)
end
local bounded = dl > 0 and dl - t < timeout and limit >= dl - t
move_stamps(r.kg, lease, t, t + limit + 1000)
redis.call('ZREM', k'leases', lease)
if probe ~= '' then probing_until(k('group:' .. r.kg), r.key, probe, t + limit + 2000) end
redis.call('ZADD', k'calls', ms(t + limit + 2000), id)
redis.call('SADD', k('calls-of:' .. worker), id)
local attempts = num(r.a)
if not again then
  attempts = redis.call('HINCRBY', k('task:' .. id), 'a', 1)
end
local begun = again and 0 or 1
redis.call('HSET', k('group:' .. r.kg), 'lapses', '0', 'slowUntil', '0', 'calls', num(f[4]) + begun, 'calls' .. of_key, num(f[5]) + begun)
redis.call('HSET', k('task:' .. id), 's', 'calling', 'w', worker, 'st', ms(t))
return { 'granted', ms(limit), tostring(attempts), f[1] or '0', r.key, r.un or '', bounded and '1' or cut_short and '2' or '0', ms(t), r.f or '0', probe }
