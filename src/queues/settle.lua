-- The end of a call (or of a try without one): what the key group learns from it, then the task's next state, at once.
-- ARGV: id, epoch, kind, verdict (kind back: the answer that could not be read, or ""), error, meta, feedback (JSON), avoidMs
--   kind: assessed (accepted from any epoch while the task is not done) | failed | expired | back (current epoch only)
--   feedback: { group, key, called, ok, latencyMs, tokens (of prompt and answer, where told), promptTokens (those of the
--     prompt), code, reason (finer than the code; both or the code alone), rate (a refusal for rate),
--     early (for calls that came too close upon one another), refund (the refused call takes no place at the provider), networkMs,
--     startedAt, says: { group, key, cools } (of a call that was no success, quota.ts), probe ("group", "key", "group,key" or ""),
--     random } or ""
-- Replies { done | back | stale, word, ms that the group rests because of this call (0: it does not) }
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

local SUCCESS = { kind = 'succeeded' }
local NOTHING = { kind = 'returned' }
-- What is said of a group by these is a failure among its recent calls.
local FAILURES = { limited = true, failed = true, refused = true }

-- The share of failures, with this call (failure: true or false) or without (nil). What it is made of goes onto `into`.
local function share_after(f, at, failure, into)
  if failure == nil then return num(f[at]) / (num(f[at]) + num(f[at + 1]) + ASSUMED_SUCCESSES) end
  local left = 0.5 ^ (math.max(0, t - num(f[at + 2])) / HALF_LIFE_MS)
  local failed, succeeded = num(f[at]) * left + (failure and 1 or 0), num(f[at + 1]) * left + (failure and 0 or 1)
  local n = #into
  into[n + 1], into[n + 2] = 'shareFailed', string.format('%.17g', failed)
  into[n + 3], into[n + 4] = 'shareOk', string.format('%.17g', succeeded)
  into[n + 5], into[n + 6] = 'shareAt', ms(t)
  return failed / (failed + succeeded + ASSUMED_SUCCESSES)
end

-- What is seen of a record at t.
local function state_seen(s)
  if s.off ~= 'no' then return 'disabled' end
  return (s.open or s.coolUntil > t) and 'cooling' or 'available'
end

local CHANGES_KEPT = 1000 -- events.ts has the same

-- The call has brought a group or key from the state `from` into another: an event. Who is seen without a worker, or as removed,
-- stays so.
local function changed(who, group, from, s, said, why)
  local to = { states = k'key-group-states', changes = k'key-group-changes', counts = k'key-group-change-counts', most = CHANGES_KEPT }
  local last = redis.call('HGET', to.states, who)
  if not last then
    -- Nobody has looked since it was registered; unless it was removed, and is forgotten.
    if redis.call('SISMEMBER', k'groups', group) == 0 then return end
    last = '0 ' .. from .. ' '
    -- A group follows the last of its keys, which is seen by those who look.
    if who ~= group then redis.call('HSETNX', to.states, group, string.format('%.0f', math.floor(t)) .. ' available ') end
  end
  if string.find(last, ' unmanned ', 1, true) or string.find(last, ' removed ', 1, true) then return end
  local state, till = state_seen(s), ''
  if state == 'cooling' then till = s.coolUntil
  elseif state == 'disabled' then till = tonumber(said.untilInMs) and t + said.untilInMs or s.probeAt end
  note_change(to, last, who, state, state ~= 'available' and why or '', till ~= '' and math.floor(till + 0.5) or '', math.floor(t))
end

local function why_of(f) return (f.code or '') .. (f.reason and ' ' .. f.reason or '') end

-- One record learns from the call. Returns whether it took calls before and takes none now. Why is kept beside it, for people.
local function learn_one(who, s, said, probe, cool, f, into)
  local before, cooled_before, off_before, seen_before = may_call(s, t), s.coolUntil, s.off, state_seen(s)
  learn_state(s, said, probe, t, cool, f.random)
  changes_of(s, into)
  local refused = s.off == 'refused' and said.kind == 'refused' and (probe or off_before ~= 'refused')
  if refused or (s.off == 'no' and s.coolUntil > cooled_before and said.kind ~= 'returned') then
    for field, v in pairs({ cause = f.code or '', reason = f.reason and f.code .. ':' .. f.reason or '', cools = f.says.cools, ['until'] = refused and tonumber(said.untilInMs) and ms(t + said.untilInMs) or '' }) do
      into[#into + 1] = field .. s.suffix
      into[#into + 1] = v
    end
  end
  if state_seen(s) ~= seen_before then changed(who, f.group, seen_before, s, said, why_of(f)) end
  return before ~= 'no' and may_call(s, t) == 'no'
end

-- What the call says of the states of group and key. known, at: values, and where those of the group's state begin; the key's
-- follow. own: the lease is over with it. Returns for how long the group rests because of it, and which tasks go back.
local function learn_states(f, known, at, share, own, into)
  local of_group, of_its_key = f.says and f.says.group or NOTHING, f.says and f.says.key or NOTHING
  if f.ok then of_group, of_its_key = SUCCESS, SUCCESS end
  local whole, key = state_from(known, at, ''), state_from(known, at + 7, ':' .. f.key)
  local probe, rested = f.probe or '', whole.coolUntil
  local probes_group, probes_key = string.find(probe, 'group', 1, true), string.find(probe, 'key', 1, true)
  if own and probes_group then set(whole, 'probing', 0) end
  if own and probes_key then set(key, 'probing', 0) end
  local function cool(said) return said.rest and rest_of(said.rest, share, f.random) or 0 end
  local shut_group = learn_one(f.group, whole, of_group, probes_group, cool(of_group), f, into)
  local shut_key = learn_one(f.group .. '/' .. f.key, key, of_its_key, probes_key, cool(of_its_key), f, into)
  -- Not for a group that was removed meanwhile.
  local may, again = may_call(whole, t)
  if may == 'no' then redis.call('ZADD', k'free', 'XX', ms(again or t + 60000), f.group)
  elseif probe ~= '' and redis.call('ZADD', k'free', 'XX', 'LT', 'CH', ms(t), f.group) > 0 then wake_room() end
  return whole.coolUntil > rested and whole.coolUntil - t or 0,
    (shut_group or shut_key) and function(group, one) return group == f.group and (shut_group or one == f.key) end
end

-- r: the task's record, where this lease is the one that it has. Replies for how long the group rests because of this call.
-- It reads and writes the group's record once, since it runs for every call.
local function learn(f, r)
  local g, of_key = k('group:' .. f.group), ':' .. f.key
  local fields = { 'account', 'shareFailed', 'shareOk', 'shareAt', 'inFlight', 'inFlight' .. of_key, unpack(GUARD_FIELDS) }
  local states_at = #fields + 1
  -- A success that was no probe says no more than that the failures in a row have ended.
  local ordinary = f.ok and (f.probe or '') == ''
  if ordinary then
    fields[states_at], fields[states_at + 1] = 'failures', 'failures' .. of_key
  else
    state_fields(fields, '')
    state_fields(fields, of_key)
  end
  local counts = f.ok and { 'ok', 'ok' .. of_key, latency_field(f.latencyMs), 'latencySum' }
    or f.code and { 'fail:' .. f.code, 'failed' .. of_key, f.rate and 'rejected429' or nil } or {}
  if f.reason then counts[#counts + 1] = 'refused:' .. f.code .. ':' .. f.reason end
  local amounts = { latencySum = f.latencyMs } -- of the others: one
  if f.ok and f.promptTokens then
    amounts['used:prompt'], amounts['used:completion'] = f.promptTokens, math.max(0, f.tokens - f.promptTokens)
    counts[#counts + 1] = 'used:prompt'
    counts[#counts + 1] = 'used:completion'
  end
  local counts_at = #fields
  for _, field in ipairs(counts) do fields[#fields + 1] = field end
  local known = redis.call('HMGET', g, unpack(fields))
  if not known[1] then return 0 end

  local record, failure = {}, nil
  local function put(field, value)
    record[#record + 1] = field
    record[#record + 1] = value
  end
  if f.called then learn_guard(known, 7, f.ok, f.early, f.networkMs, record) end
  if f.ok then failure = false elseif f.says and FAILURES[f.says.group.kind] then failure = true end
  local share = share_after(known, 2, failure, record)
  if r then
    in_flight_less(known, 5, f.key, record)
    r.in_flight_counted = true -- lease_over need not
  end
  local rests, shut = 0, nil
  if not ordinary then
    rests, shut = learn_states(f, known, states_at, share, r ~= nil, record)
  else
    for i = 0, 1 do
      if num(known[states_at + i]) > 0 then put(fields[states_at + i], '0') end
    end
  end
  for i, field in ipairs(counts) do put(field, string.format('%.0f', num(known[counts_at + i]) + (amounts[field] or 1))) end
  if f.ok then
    local list = k('latency:' .. f.group)
    redis.call('LPUSH', list, f.latencyMs)
    redis.call('LTRIM', list, 0, 30)
    local seen = redis.call('LRANGE', list, 0, -1)
    for i = 1, #seen do seen[i] = num(seen[i]) end
    table.sort(seen)
    put('median', seen[math.floor(#seen / 2) + 1])
    put('medianAt', ms(t))
    put('p95', seen[math.ceil(#seen * 0.95)])
  end
  if #record > 0 then redis.call('HSET', g, unpack(record)) end
  if shut then give_back(shut) end
  return rests
end

-- by: whose call it was, which for a verdict of an older epoch is not the record's last taking.
local group, called, by, probed, rests = '', true, nil, false, '0'
local r = read(id)
if feedback ~= '' then
  local f = cjson.decode(feedback)
  local its_own = r and r.e == epoch and r.s ~= 'waiting' and r.s ~= 'done' and r.kg == f.group and r.key == f.key
  group, called = f.group, f.called
  if f.called then by = { group = f.group, key = f.key, startedAt = f.startedAt } end
  if f.refund then unstamp(id .. '#' .. epoch) else end_call(id .. '#' .. epoch, f.tokens) end
  rests = ms(learn(f, its_own and r or nil))
  probed = (f.probe or '') ~= '' and not f.ok
end

if not r then return { 'stale', 'unknown task', rests } end
if r.s == 'done' then
  -- The same ending told twice (its answer was lost): it is done.
  if kind == 'failed' and r.o == 'failed' and r.e == epoch then return { 'done', 'failed', rests } end
  redis.call('HINCRBY', k'counters', 'late', 1)
  return { 'stale', 'ended already: ' .. (r.o or ''), rests }
end
if kind == 'assessed' then
  finish(id, r, 'assessed', verdict, '', meta, by)
  return { 'done', 'assessed', rests }
end
if r.e ~= epoch or r.s == 'waiting' then return { 'stale', 'taken anew since', rests } end
if kind == 'back' then
  if verdict ~= '' then redis.call('HSET', k('task:' .. id), 'un', verdict) end
  -- A refusal counts towards the most that are tolerated; what never reached the provider was no attempt, and a probe is not the
  -- task's.
  if called and feedback ~= '' and verdict == '' and not probed then redis.call('HINCRBY', k('task:' .. id), 'f', 1) end
  if (not called or probed) and num(r.a) > 0 then r.a = tostring(redis.call('HINCRBY', k('task:' .. id), 'a', -1)) end
  if called and feedback ~= '' then redis.call('HINCRBY', k'counters', 'calledAgain', 1) end
  local became = go_back(id, r, group, avoid_ms)
  return { 'back', became, rests }
end
finish(id, r, kind, '', err, meta, by)
return { 'done', kind, rests }
