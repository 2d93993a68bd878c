-- How far a group's reading has its effects in the store (read-places.ts). KEYS: hash, field = shard, value = <run>:<next position>.
-- ARGV: the store's run that the caller knows ("": it only asks), then shard and next position by turns.
-- Replies { run, everything noted } to who asks; else { run }, and has noted nothing where that is another run.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if ARGV[1] == '' then return { run, redis.call('HGETALL', KEYS[1]) } end
if run == ARGV[1] then
  for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], run .. ':' .. ARGV[i + 1]) end
end
return { run }
