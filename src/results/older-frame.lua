-- Collects the results of one frame for the older system's readers; idempotent by task id.
-- KEYS: the frame, detection:<messageId>. ARGV: task id, the result (JSON), how long to remember (s).
-- Replies { 'alone' }: there is no (readable) detection | { 'waiting' }: others are to come | { 'told' }: it was told before |
--   { 'complete', detection, result… }: all are there, in the order of their coming. Then the caller sets the field 'told'.
-- Frame, hash: groups (how many the detection has)   count (results so far)   of:<task id> its number   <number> the result   told
local frame = KEYS[1]
if redis.call('HEXISTS', frame, 'groups') == 0 then
  local text = redis.call('GET', KEYS[2])
  if not text then return { 'alone' } end
  local fine, detection = pcall(cjson.decode, text)
  if not fine or type(detection) ~= 'table' or type(detection.trafficGroups) ~= 'table' then return { 'alone' } end
  redis.call('HSET', frame, 'groups', #detection.trafficGroups)
end
if redis.call('HEXISTS', frame, 'of:' .. ARGV[1]) == 0 then
  local number = redis.call('HINCRBY', frame, 'count', 1)
  redis.call('HSET', frame, 'of:' .. ARGV[1], number, number, ARGV[2])
end
redis.call('EXPIRE', frame, ARGV[3])
if redis.call('HEXISTS', frame, 'told') == 1 then return { 'told' } end
local count = tonumber(redis.call('HGET', frame, 'count'))
if count < tonumber(redis.call('HGET', frame, 'groups')) then return { 'waiting' } end
local detection = redis.call('GET', KEYS[2])
if not detection then return { 'alone' } end
local reply = { 'complete', detection }
for number = 1, count do reply[#reply + 1] = redis.call('HGET', frame, number) end
return reply
