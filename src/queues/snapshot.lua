-- Key groups as they stand, and those that were removed while their queue is not empty. ARGV[1] "all", or "some": those that
-- had a call within the last 5 s or have one under way, those of the same account, and ARGV[2…].
-- Replies first a text that changes when others than those may have changed: groups were registered, or keys came to be held
-- or are no longer. Then now. Then one list a group: { id,
-- now, manned keys, usable keys (not disabled), calls in flight, what is used of each window ("a,b"), its keys ("id:held:calls in flight,…", held 0
-- or 1), removed ("1"), slots of maxConcurrent that are taken (0: there is no such limit), then the record's fields and values }
local t = at_a_glance()
local in_flight = {}
for _, id in ipairs(redis.call('ZRANGE', k'calls', 0, -1)) do
  local f = redis.call('HMGET', k('task:' .. id), 'kg', 'key')
  if f[1] then
    local whose = f[1] .. '/' .. (f[2] or '')
    in_flight[f[1]] = (in_flight[f[1]] or 0) + 1
    in_flight[whose] = (in_flight[whose] or 0) + 1
  end
end

-- Which keys are held, in a text. To read a thousand of them takes a millisecond: as long as they are as many and none may have
-- lapsed since they were read last (workers say every 2 s that they hold theirs for 6 s), it is the text of then. What lapsed long ago
-- is nobody's any more.
local LONG_AGO_MS = 60000
local function held_keys()
  local count = redis.call('HLEN', k'held')
  local before = redis.call('HMGET', k'held-seen', 'count', 'until', 'text')
  if before[3] and num(before[1]) == count and t < num(before[2]) then return before[3] end
  local holding, first_lapse = {}, math.huge
  local flat = redis.call('HGETALL', k'held')
  for i = 1, #flat, 2 do
    local till = num(flat[i + 1])
    if till > t then holding[#holding + 1] = flat[i] end
    if till > t - LONG_AGO_MS then first_lapse = math.min(first_lapse, till) end
  end
  local text = redis.sha1hex(table.concat(holding, ' '))
  if first_lapse > t and first_lapse < math.huge then redis.call('HSET', k'held-seen', 'count', count, 'until', ms(first_lapse), 'text', text) end
  return text
end

-- Those of these keys of the group that are held: key -> true.
local function held_of(group, keys)
  local whose, held = {}, {}
  for i, key in ipairs(keys) do whose[i] = group .. '/' .. key end
  if #whose == 0 then return held end
  for i, till in ipairs(redis.call('HMGET', k'held', unpack(whose))) do held[keys[i]] = num(till) > t end
  return held
end

local function some()
  local ids, seen = {}, {}
  local function add(id)
    if not seen[id] and redis.call('SISMEMBER', k'groups', id) == 1 then ids[#ids + 1] = id end
    seen[id] = true
  end
  -- With those that share its windows.
  local function add_account_of(id)
    add(id)
    for _, other in ipairs(redis.call('SMEMBERS', k('groups-of:' .. (redis.call('HGET', k('group:' .. id), 'account') or id)))) do add(other) end
  end
  for i = 2, #ARGV do add(ARGV[i]) end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', k'active', ms(t - 5000), '+inf')) do add_account_of(id) end
  for whose in pairs(in_flight) do
    if not string.find(whose, '/', 1, true) then add_account_of(whose) end
  end
  return ids
end

local reply = { (redis.call('GET', k'registrations') or '0') .. ' ' .. held_keys(), ms(t) }
local ids = ARGV[1] == 'all' and redis.call('SMEMBERS', k'groups') or some()
local known = #ids
for _, id in ipairs(redis.call('ZRANGE', k'leaving', 0, -1)) do ids[#ids + 1] = id end
for nth, id in ipairs(ids) do
  local record = redis.call('HGETALL', k('group:' .. id))
  local r = {}
  for i = 1, #record, 2 do r[record[i]] = record[i + 1] end
  local manned, usable, keys = 0, 0, {}
  local ids_of_keys = split(r.keys, '[^,]+')
  local held = held_of(id, ids_of_keys)
  for _, key in ipairs(ids_of_keys) do
    keys[#keys + 1] = key .. ':' .. (held[key] and 1 or 0) .. ':' .. (in_flight[id .. '/' .. key] or 0)
    if held[key] then
      manned = manned + 1
      local off = r['off:' .. key]
      if off ~= 'refused' and off ~= 'by_hand' then usable = usable + 1 end
    end
  end
  local used = {}
  local list, most, slots = windows_of(id)
  for _, w in ipairs(list) do used[#used + 1] = string.format('%.0f', w.law.used(w, t)) end
  local at_once = most > 0 and redis.call('ZCOUNT', slots, ms(t), '+inf') or 0
  local entry = { id, ms(t), tostring(manned), tostring(usable), tostring(in_flight[id] or 0), table.concat(used, ','),
    table.concat(keys, ','), nth > known and '1' or '0', tostring(at_once) }
  for i = 1, #record do entry[#entry + 1] = record[i] end
  reply[#reply + 1] = entry
end
return reply
