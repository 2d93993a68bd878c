-- Taken tasks whose job is in its queue. ARGV: id, epoch, id, epoch, …
for i = 1, #ARGV, 2 do
  local key = k('task:' .. ARGV[i])
  local f = redis.call('HMGET', key, 's', 'e')
  if f[1] == 'taken' and f[2] == ARGV[i + 1] then redis.call('HSET', key, 's', 'queued') end
end
return 'OK'
