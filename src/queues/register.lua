-- Makes key groups known (and forgets those that are not named). ARGV[1] settings as JSON; ARGV[2…] one JSON a group:
-- { id, account, windows: "name:limit:ms;…", maxConcurrent, keys: "a,b", json }
local s = cjson.decode(ARGV[1])
redis.call('HSET', k'settings', 'recordMs', s.recordMs, 'failedRecordMs', s.failedRecordMs, 'imageMs', s.imageMs)
local named = {}
local t = now()
for i = 2, #ARGV do
  local g = cjson.decode(ARGV[i])
  named[g.id] = true
  redis.call('HSET', k('group:' .. g.id), 'account', g.account, 'windows', g.windows, 'maxConcurrent', g.maxConcurrent, 'keys', g.keys, 'json', g.json)
  redis.call('HSETNX', k('group:' .. g.id), 'guard', '25')
  redis.call('SADD', k'groups', g.id)
  redis.call('ZADD', k'free', 'NX', ms(t), g.id)
end
for _, id in ipairs(redis.call('SMEMBERS', k'groups')) do
  if not named[id] then
    redis.call('SREM', k'groups', id)
    redis.call('ZREM', k'free', id)
    redis.call('DEL', k('group:' .. id))
  end
end
return 'OK'
