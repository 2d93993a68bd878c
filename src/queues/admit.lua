-- Admits tasks to the waiting room; idempotent by task id and content.
-- ARGV[1] most that may wait; ARGV[2…] one JSON each: { id, m (message id), h, c, cap, ord, fresh (ms, 0: never expires),
--   reuse (ms, 0: never), hash, score 0..1, sig, img, tok, pc (id of its routing policy), json, failed: {code, message} as JSON text or "",
--   over: the message that goes to those who judge it, or "" (we do); inline: '1' with its picture,
--   left: '1': it came by the topic of tasks, so that one which was handed over is for us after all }
-- Replies one word a task: admitted | handed | known | conflict | reused | superseded | expired | failed; then the length of the outboxes.

-- Leaves the task to others, once: the record is the fence. It has no outcome here.
local function hand_over(id, r, message, inline)
  local keep = num(redis.call('HGET', k'settings', 'recordMs'))
  redis.call('HSET', k('task:' .. id), 'h', r.h, 'e', '0', 'r', '1', 's', 'done', 'o', 'handed')
  redis.call('PEXPIRE', k('task:' .. id), keep > 0 and keep or 7200000)
  redis.call('XADD', k'tasks-outbox', '*', 'message', message, 'img', r.img, 'inline', inline)
  if r.img ~= '' then
    local image = num(redis.call('HGET', k'settings', 'imageMs'))
    redis.call('ZADD', k'images', ms(now() + (image > 0 and image or 3600000)), r.img)
  end
  redis.call('HINCRBY', k'counters', 'handed', 1)
end

local reply = {}
local t = now()
local most = tonumber(ARGV[1])

for i = 2, #ARGV do
  local x = cjson.decode(ARGV[i])
  local key = k('task:' .. x.id)
  local known = redis.call('HGET', key, 'h')
  local word
  if known and x.left == '1' and redis.call('HGET', key, 'o') == 'handed' then
    redis.call('DEL', key)
    redis.call('HSET', key, 'hh', known) -- its detection may come again still
    known = nil
  end
  if known then
    word = (known == x.h or redis.call('HGET', key, 'hh') == x.h) and 'known' or 'conflict'
    if word == 'conflict' then redis.call('HINCRBY', k'counters', 'conflicts', 1) end
  else
    local age = math.min(math.max(t - x.cap, 0), 60000)
    local deadline = x.fresh > 0 and (t - age + x.fresh) or 0
    local r = { s = 'new', e = '0', a = '0', r = '1', h = x.h, c = x.c, cap = ms(x.cap), ord = x.ord, dl = ms(deadline), m = x.m,
      sig = x.sig, hash = x.hash, reuse = tostring(x.reuse), ns = x.fresh > 0 and '0' or '1', since = ms(x.cap), json = x.json, img = x.img, tok = x.tok, ad = ms(t), b = '0', pc = x.pc, hi = x.score >= URGENT and '1' or '0' }
    redis.call('HINCRBY', k'counters', 'groups', 1)
    if x.failed ~= '' then
      redis.call('HSET', key, 'h', r.h, 'e', '0', 'r', '1', 'json', r.json, 'c', r.c, 'cap', r.cap, 'ord', r.ord, 'm', r.m, 'img', r.img, 'ad', r.ad, 'b', '0', 'sig', r.sig, 'tok', r.tok, 'pc', r.pc)
      finish(x.id, r, 'failed', '', x.failed, '')
      word = 'failed'
    elseif deadline > 0 and deadline <= t then
      redis.call('HSET', key, 'h', r.h, 'e', '0', 'r', '1')
      finish(x.id, r, 'expired', '', '{"code":"DEADLINE_PASSED","message":"older than its freshness when it was admitted"}', '')
      word = 'expired'
    elseif x.over ~= '' then
      hand_over(x.id, r, x.over, x.inline)
      word = 'handed'
    elseif x.reuse > 0 and verdict_again(x.c, x.sig, x.hash, x.reuse) then
      local again = verdict_again(x.c, x.sig, x.hash, x.reuse)
      redis.call('HSET', key, 'h', r.h, 'e', '0', 'r', '1')
      finish(x.id, r, 'reused', again.verdict, '', again.meta)
      word = 'reused'
    else
      local superseded_by_waiting = false
      if r.ns ~= '1' then
        local other, o = same_waiting(x.c, x.m, x.sig)
        if other then
          if later(x.cap, x.ord, num(o.cap), o.ord) then
            r.since = o.since
            finish(other, o, 'superseded', '', '', '')
          else
            superseded_by_waiting = true
          end
        end
      end
      if superseded_by_waiting then
        redis.call('HSET', key, 'h', r.h, 'e', '0', 'r', '1')
        finish(x.id, r, 'superseded', '', '', '')
        word = 'superseded'
      else
        -- The place in the order: the local score, raised by the time that this scene has waited already.
        local waited = x.fresh > 0 and math.min((t - num(r.since)) / x.fresh, 2) or 0
        local urgency = math.min(x.score + waited / 2, 1)
        r.b = tostring(math.min(math.floor(urgency * BANDS), BANDS - 1))
        r.s = 'waiting'
        local flat = {}
        for f, v in pairs(r) do flat[#flat + 1] = f; flat[#flat + 1] = v end
        redis.call('HSET', key, unpack(flat))
        if r.hi == '1' then note_urgent(t) end
        enter_room(x.id, r, deadline)
        word = 'admitted'
        if redis.call('ZCARD', k'wait') > most then
          local least = redis.call('ZRANGE', k'wait', 0, 0)[1]
          finish(least, read(least), 'expired', '', '{"code":"ROOM_FULL","message":"the waiting room is full (room_full)"}', '')
        end
      end
    end
  end
  reply[#reply + 1] = word
end
reply[#reply + 1] = tostring(redis.call('XLEN', k'outbox') + redis.call('XLEN', k'tasks-outbox'))
return reply
