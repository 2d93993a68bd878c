-- The request of a spent lease left later than it was stamped (a cold connection, a busy event loop): the stamp moves to
-- now, since that is what the provider will see. ARGV: id, epoch
local id, epoch = ARGV[1], ARGV[2]
local t = now()
local f = redis.call('HMGET', k('task:' .. id), 's', 'e', 'kg')
if f[1] ~= 'calling' or f[2] ~= epoch then return 'stale' end
local lease = id .. '#' .. epoch
if redis.call('EXISTS', lease_key(lease)) == 0 then return 'stale' end
move_stamps(f[3], lease, t)
return 'OK'
