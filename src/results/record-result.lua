-- Takes one result in, once: camera's state, its risk, counts, and the events for the gateways, in one step.
-- KEYS: states, risks, counts, events, seen.
-- ARGV: 1 task id and revision, 2 how long that is remembered (s), 3 camera, 4 state expected ("": none), 5 new state,
--   6 risk, 7 the result as event, 8 the camera as event ("": its risk has not changed), 9… outcome and change by turns
-- Replies { recorded } | { duplicate } | { conflict, present state }: another process took one in; reckon again.
if redis.call('SISMEMBER', KEYS[5], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[3], 'duplicates', 1)
  return { 'duplicate' }
end
local present = redis.call('HGET', KEYS[1], ARGV[3]) or ''
if present ~= ARGV[4] then return { 'conflict', present } end
redis.call('SADD', KEYS[5], ARGV[1])
redis.call('EXPIRE', KEYS[5], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[6])
for i = 9, #ARGV, 2 do redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1]) end
redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'type', 'outcome', 'json', ARGV[7])
if ARGV[8] ~= '' then redis.call('XADD', KEYS[4], 'MAXLEN', '~', 10000, '*', 'type', 'camera', 'json', ARGV[8]) end
return { 'recorded' }
