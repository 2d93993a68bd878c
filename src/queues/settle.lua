-- The end of a call (or of a try without one): what the key group learns from it, then the task's next state, at once.
-- ARGV: id, epoch, kind, verdict (kind back: the answer that could not be read, or ""), error, meta, feedback (JSON), avoidMs
--   kind: assessed (accepted from any epoch while the task is not done) | failed | expired | back (current epoch only)
--   feedback: { group, key, called, ok, latencyMs, tokens (of prompt and answer, where told), promptTokens (those of the prompt), code, rate (a refusal for rate), early (for calls that came too close upon one another), refund (the refused call takes no place at the provider), networkMs, coolMs, offMs, blames, countsAsFailure } or ""
-- Replies { done | back | stale, word }
local id, epoch, kind, verdict, err, meta, feedback, avoid_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local t = now()

-- Answered calls by how long they took: upper ends in ms (events.ts has the same), `lat:rest` beyond the last.
local LATENCY_ENDS = { 500, 1000, 2000, 5000, 10000, 30000 }
local function latency_field(took)
  for _, most in ipairs(LATENCY_ENDS) do
    if took <= most then return 'lat:' .. most end
  end
  return 'lat:rest'
end

local function learn(f)
  local g = k('group:' .. f.group)
  if redis.call('EXISTS', g) == 0 then return end
  if f.called then learn_guard(g, f.ok, f.early, f.networkMs) end
  if f.ok then
    redis.call('HINCRBY', g, 'ok', 1)
    redis.call('HINCRBY', g, 'ok:' .. f.key, 1)
    redis.call('HDEL', g, 'cause')
    local list = k('latency:' .. f.group)
    redis.call('LPUSH', list, f.latencyMs)
    redis.call('LTRIM', list, 0, 30)
    local seen = redis.call('LRANGE', list, 0, -1)
    for i = 1, #seen do seen[i] = num(seen[i]) end
    table.sort(seen)
    redis.call('HSET', g, 'median', seen[math.floor(#seen / 2) + 1], 'medianAt', ms(t), 'p95', seen[math.ceil(#seen * 0.95)])
    redis.call('HINCRBY', g, latency_field(f.latencyMs), 1)
    redis.call('HINCRBY', g, 'latencySum', f.latencyMs)
    if f.promptTokens then
      redis.call('HINCRBY', g, 'used:prompt', f.promptTokens)
      redis.call('HINCRBY', g, 'used:completion', math.max(0, f.tokens - f.promptTokens))
    end
  elseif f.code then
    redis.call('HINCRBY', g, 'fail:' .. f.code, 1)
    redis.call('HINCRBY', g, 'failed:' .. f.key, 1)
    if f.rate then redis.call('HINCRBY', g, 'rejected429', 1) end
  end
  -- A later cool-down never shortens an earlier one.
  if f.coolMs and f.coolMs > 0 then
    local till = math.max(num(redis.call('HGET', g, 'coolUntil')), t + f.coolMs)
    redis.call('HSET', g, 'coolUntil', ms(till), 'cause', f.code or '')
    redis.call('ZADD', k'free', 'XX', ms(till), f.group) -- not for a group that was removed meanwhile
  end
  if f.offMs and f.offMs > 0 then
    local field = 'off:' .. f.key
    local till = math.max(num(redis.call('HGET', g, field)), t + f.offMs)
    redis.call('HSET', g, field, ms(till), 'cause', f.code or '', 'cause:' .. f.key, f.code or '')
  end
end

-- by: whose call it was, which for a verdict of an older epoch is not the record's last taking.
local group, called, by = '', true, nil
if feedback ~= '' then
  local f = cjson.decode(feedback)
  group, called = f.group, f.called
  if f.called then by = { group = f.group, key = f.key, startedAt = f.startedAt } end
  if f.refund then unstamp(id .. '#' .. epoch) else end_call(id .. '#' .. epoch, f.tokens) end
  learn(f)
end

local r = read(id)
if not r then return { 'stale', 'unknown task' } end
if r.s == 'done' then
  -- The same ending told twice (its answer was lost): it is done.
  if kind == 'failed' and r.o == 'failed' and r.e == epoch then return { 'done', 'failed' } end
  redis.call('HINCRBY', k'counters', 'late', 1)
  return { 'stale', 'ended already: ' .. (r.o or '') }
end
if kind == 'assessed' then
  finish(id, r, 'assessed', verdict, '', meta, by)
  return { 'done', 'assessed' }
end
if r.e ~= epoch or r.s == 'waiting' then return { 'stale', 'taken anew since' } end
if kind == 'back' then
  if verdict ~= '' then redis.call('HSET', k('task:' .. id), 'un', verdict) end
  -- A refusal counts towards the most that are tolerated; what never reached the provider was no attempt.
  if called and feedback ~= '' and verdict == '' then redis.call('HINCRBY', k('task:' .. id), 'f', 1) end
  if not called and num(r.a) > 0 then r.a = tostring(redis.call('HINCRBY', k('task:' .. id), 'a', -1)) end
  if called and feedback ~= '' then redis.call('HINCRBY', k'counters', 'calledAgain', 1) end
  local became = go_back(id, r, group, avoid_ms)
  return { 'back', became }
end
finish(id, r, kind, '', err, meta, by)
return { 'done', kind }
