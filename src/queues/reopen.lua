-- Retry by hand: only from failed. A new revision with a fresh deadline of 60 s, never superseded, through the waiting room.
-- ARGV[1] id. Replies { ok, revision, epoch } | { no, why }
local id = ARGV[1]
local t = now()
local r = read(id)
if not r then return { 'no', 'unknown' } end
if r.s == 'done' and r.o == 'failed' and not r.json then return { 'no', 'too old: what it was about is not kept any more' } end
if r.s ~= 'done' or r.o ~= 'failed' then return { 'no', 'it is ' .. (r.s == 'done' and (r.o or 'done') or r.s) } end
local revision, epoch = num(r.r) + 1, num(r.e) + 1
redis.call('HSET', k('task:' .. id), 's', 'waiting', 'o', '', 'r', revision, 'e', epoch, 'a', '0', 'f', '0', 'dl', ms(t + 60000), 'ns', '1',
  'b', tostring(BANDS - 1), 'hi', '1', 'ad', ms(t))
redis.call('HDEL', k('task:' .. id), 'w', 'st', 'tk', 'no', 'nountil', 'un', 'kg', 'key')
redis.call('ZREM', k'failed', id)
redis.call('PERSIST', k('task:' .. id))
if r.img and r.img ~= '' then redis.call('ZREM', k'images', r.img) end
r.b, r.hi = tostring(BANDS - 1), '1'
enter_room(id, r, t + 60000)
return { 'ok', tostring(revision), tostring(epoch) }
