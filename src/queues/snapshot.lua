-- Every key group as it stands, and those that were removed while their queue is not empty. Replies one list a group: { id,
-- now, manned keys, usable keys, calls in flight, what is used of each window ("a,b"), removed ("1"), then the record's fields and
-- values }
local t = now()
local in_flight = {}
for _, id in ipairs(redis.call('ZRANGE', k'calls', 0, -1)) do
  local group = redis.call('HGET', k('task:' .. id), 'kg')
  if group then in_flight[group] = (in_flight[group] or 0) + 1 end
end
local held = {}
local flat = redis.call('HGETALL', k'held')
for i = 1, #flat, 2 do held[flat[i]] = num(flat[i + 1]) > t end

local reply = {}
local ids = redis.call('SMEMBERS', k'groups')
local known = #ids
for _, id in ipairs(redis.call('ZRANGE', k'leaving', 0, -1)) do ids[#ids + 1] = id end
for nth, id in ipairs(ids) do
  local record = redis.call('HGETALL', k('group:' .. id))
  local r = {}
  for i = 1, #record, 2 do r[record[i]] = record[i + 1] end
  local manned, usable = 0, 0
  for _, key in ipairs(split(r.keys, '[^,]+')) do
    if held[id .. '/' .. key] then
      manned = manned + 1
      if num(r['off:' .. key]) <= t then usable = usable + 1 end
    end
  end
  local used = {}
  for _, w in ipairs((windows_of(id))) do used[#used + 1] = string.format('%.0f', w.law.used(w, t)) end
  local entry = { id, ms(t), tostring(manned), tostring(usable), tostring(in_flight[id] or 0), table.concat(used, ','), nth > known and '1' or '0' }
  for i = 1, #record do entry[#entry + 1] = record[i] end
  reply[#reply + 1] = entry
end
return reply
