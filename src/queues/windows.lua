-- A key group's quota windows together: whether a call fits into all of them, and where a lease is stamped.
--
-- A lease's record, hash <p>lease:<id>#<epoch>, says where its stamps are, so that they are found again whatever became of
-- the group meanwhile: g the group, a its account, n the tokens reserved, slot the key of the calls in flight, and for each
-- window (its key after "window:") "cost|place". It lives from take to settle.
local LAWS = { sliding = Sliding, fixed = Periods, calendar = Periods, bucket = Bucket }
-- A call that never settles leaves its record behind for so long, beyond its own time-out.
local RECORD_MS = 600000

local function window_named(id, guard)
  local part = split(id, '[^:]+')
  return { id = id, key = k('window:' .. id), unit = part[2], kind = part[3], ms = num(part[4]), zone = part[5], law = LAWS[part[3]], guard = guard }
end

local known_windows = {} -- of this run

-- The group's windows; most calls in flight (0: any); the key of those; the account.
-- windows: "name:limit:ms:unit:kind:zone;…". A name that begins with @ is shared by all groups that have it.
function windows_of(group)
  local known = known_windows[group]
  if known then return unpack(known) end
  local f = redis.call('HMGET', k('group:' .. group), 'windows', 'account', 'guard', 'maxConcurrent')
  local account = f[2] or group
  local list = {}
  for _, text in ipairs(split(f[1], '[^;]+')) do
    local part = split(text .. ':', '([^:]*):')
    local name, unit, kind, zone = part[1], part[4] or 'requests', part[5] or 'sliding', part[6] or ''
    local owner = string.sub(name, 1, 1) == '@' and '@' or account
    local id = table.concat({ owner, unit, kind, part[3] }, ':') .. (zone ~= '' and ':' .. zone or '')
    local w = window_named(id, math.ceil(num(f[3])))
    w.name, w.limit = name, num(part[2])
    if unit == 'tokens' then list.tokens = true end
    list[#list + 1] = w
  end
  known_windows[group] = { list, num(f[4]), k('window:' .. account .. ':concurrent'), account }
  return unpack(known_windows[group])
end

-- A call that needs more than a whole window holds is let in when the window is empty.
local function cost_in(w, tokens) return w.unit == 'tokens' and math.min(math.max(tokens, 1), w.limit) or 1 end

local function lease_key(lease) return k('lease:' .. lease) end

-- id -> { lease, cost, place } of a lease's stamps, and its other fields.
local function stamps_of(lease)
  local flat = redis.call('HGETALL', lease_key(lease))
  local stamps, fields = {}, {}
  for i = 1, #flat, 2 do
    local cost, place = string.match(flat[i + 1], '^(%d+)|(.*)$')
    if cost then stamps[flat[i]] = { lease = lease, cost = num(cost), place = place } else fields[flat[i]] = flat[i + 1] end
  end
  return stamps, fields
end

-- The earliest time from t on at which a call of so many tokens fits into every window (the lease `own` not counted), and the
-- window that made it wait. Stamps may lie ahead of t: leases are granted a little early.
local function free_at(group, t, tokens, own)
  local list, most, slots = windows_of(group)
  local stamps = own and stamps_of(own) or {}
  local at, why = t, ''
  -- What fits into a fixed window now need not fit a moment later, so all are asked until nobody asks for more.
  for _ = 1, 8 do
    local before = at
    for _, w in ipairs(list) do
      local frees = w.law.free_from(w, at, cost_in(w, tokens), stamps[w.id])
      if frees > at then at, why = frees, w.name end
    end
    if at == before then break end
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
  return at, why, list
end

-- What a call of this group about this task may take in tokens, at most: the group's prompt and answer, the picture and the
-- facts, and an answer that could not be read, which is sent along (a token has a byte at least).
local function tokens_of(group, r)
  local f = redis.call('HMGET', k('group:' .. group), 'promptTokens', 'imageRule')
  local by_rule = split(r.tok, '[^,]+')
  local own = num(by_rule[num(f[2])])
  if own == 0 then
    for _, n in ipairs(by_rule) do own = math.max(own, num(n)) end
  end
  return num(f[1]) + own + #(r.un or '')
end

-- spent: the call has begun already.
local function stamp(group, lease, t, slot_until, tokens, spent)
  local list, most, slots, account = windows_of(group)
  local record = { 'g', group, 'a', account, 'n', string.format('%.0f', tokens) }
  for _, w in ipairs(list) do
    local cost = cost_in(w, tokens)
    record[#record + 1] = w.id
    record[#record + 1] = cost .. '|' .. w.law.add(w, lease, t, cost, spent)
  end
  if most > 0 then
    redis.call('ZADD', slots, ms(slot_until), lease)
    record[#record + 1] = 'slot'
    record[#record + 1] = slots
  end
  redis.call('HSET', lease_key(lease), unpack(record))
end

-- The stamps of a lease are at t now. With slot_until: its call begins, and has ended by then.
local function move_stamps(group, lease, t, slot_until)
  local stamps, fields = stamps_of(lease)
  local record = {}
  for _, w in ipairs((windows_of(group))) do
    local known = stamps[w.id]
    local cost = known and known.cost or cost_in(w, num(fields.n))
    record[#record + 1] = w.id
    record[#record + 1] = cost .. '|' .. (known and w.law.move(w, lease, known.place, cost, t) or w.law.add(w, lease, t, cost, true))
  end
  if #record > 0 then redis.call('HSET', lease_key(lease), unpack(record)) end
  if slot_until then
    if fields.slot then redis.call('ZADD', fields.slot, ms(slot_until), lease) end
    redis.call('PEXPIRE', lease_key(lease), math.ceil(slot_until - t) + RECORD_MS)
  end
end

-- The fan-out sleeps until a group is free by time alone: where one is free sooner, it is told.
local function wake_room()
  if redis.call('EXISTS', k'wait') == 1 then redis.call('PUBLISH', k'wake', '') end
end

-- Groups that wait for a place in the account's windows may have one now. Of those that share a window with all others, so
-- many: a place given back is one call.
local WOKEN = 64
local function wake_groups(account, shared)
  local sooner = 0
  for _, group in ipairs(redis.call('SMEMBERS', k('groups-of:' .. account))) do
    sooner = sooner + redis.call('ZADD', k'free', 'XX', 'LT', 'CH', ms(now()), group)
  end
  if shared then
    for _, group in ipairs(redis.call('ZRANGEBYSCORE', k'free', '(' .. ms(now()), '+inf', 'LIMIT', 0, WOKEN)) do
      sooner = sooner + redis.call('ZADD', k'free', 'XX', 'LT', 'CH', ms(now()), group)
    end
  end
  if sooner > 0 then wake_room() end
end

-- Gives all places of a lease back: only ever for one that was surely not spent.
local function unstamp(lease)
  local stamps, fields = stamps_of(lease)
  local shared = false
  for id, own in pairs(stamps) do
    local w = window_named(id, 0)
    w.law.remove(w, lease, own.place, own.cost)
    shared = shared or string.sub(id, 1, 2) == '@:'
  end
  if fields.slot then redis.call('ZREM', fields.slot, lease) end
  redis.call('DEL', lease_key(lease))
  if fields.a then wake_groups(fields.a, shared) end
end

-- The call has ended: its place among those in flight falls, and what it took in tokens, where that is known, is put for what
-- was reserved: less as a rule, honestly more where the estimate was too low.
local function end_call(lease, tokens)
  local stamps, fields = stamps_of(lease)
  if not fields.a then return end
  local freed = fields.slot and redis.call('ZREM', fields.slot, lease) == 1
  for id, own in pairs(stamps) do
    local w = window_named(id, 0)
    if tokens and w.unit == 'tokens' and tokens ~= own.cost then
      w.law.adjust(w, lease, own.place, tokens - own.cost)
      freed = freed or tokens < own.cost
    end
  end
  redis.call('DEL', lease_key(lease))
  if freed then wake_groups(fields.a, false) end
end
