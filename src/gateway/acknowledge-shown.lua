-- Acknowledges events and notes the outcomes among them as shown: once each, however often they were shown, since only the
-- gateway whose acknowledgement counts notes them.
-- KEYS: events, shown. ARGV[1] group; then five each: entry id, task id ("": no outcome), revision, outcome, timings as JSON.
local noted = 0
for i = 2, #ARGV, 5 do
  local mine = redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  if mine == 1 and ARGV[i + 1] ~= '' then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', 200000, '*',
      'taskId', ARGV[i + 1], 'revision', ARGV[i + 2], 'outcome', ARGV[i + 3], 'json', ARGV[i + 4])
    noted = noted + 1
  end
end
return noted
