-- The request of a spent lease left later than it was stamped (a cold connection, a busy event loop): the stamp moves to
-- now, since that is what the provider will see. ARGV: id, epoch
local id, epoch = ARGV[1], ARGV[2]
local t = now()
local f = redis.call('HMGET', k('task:' .. id), 's', 'e', 'kg')
if f[1] ~= 'calling' or f[2] ~= epoch then return 'stale' end
local lease = id .. '#' .. epoch
for _, w in ipairs((windows_of(f[3]))) do redis.call('ZADD', w.key, 'XX', 'GT', ms(t), lease) end
return 'OK'
