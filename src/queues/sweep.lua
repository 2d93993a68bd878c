-- The slow safety tick: what waits past its deadline expires, leases that lapsed unspent and calls that never ended bring
-- their tasks back; a removed group whose queue is empty is forgotten. ARGV[1] most of each kind. ARGV[2…] workers that died: their tasks come back at once.
-- Replies { expired, lapsed, overdue, orphaned, 1 when nothing is left that could become due }
local t = at_a_glance() -- what is found due is brought back by `now`
local most = tonumber(ARGV[1])
local count = { 0, 0, 0, 0 }

for _, id in ipairs(redis.call('ZRANGEBYSCORE', k'deadlines', '-inf', ms(t), 'LIMIT', 0, most)) do
  local r = read(id)
  if r and r.s == 'waiting' then
    local why = '{"code":"DEADLINE_PASSED","message":"no quota was free before the deadline"}'
    if #tiers_of(r.pc or '') == 0 then why = '{"code":"NO_GROUP_ALLOWED","message":"its routing policy allows none of the key groups"}' end
    finish(id, r, 'expired', '', why, '')
    count[1] = count[1] + 1
  else
    redis.call('ZREM', k'deadlines', id)
  end
end

for _, lease in ipairs(redis.call('ZRANGEBYSCORE', k'leases', '-inf', ms(t), 'LIMIT', 0, most)) do
  local id, epoch = string.match(lease, '^(.*)#(%d+)$')
  local r = read(id)
  if r and r.e == epoch and (r.s == 'taken' or r.s == 'queued') then
    go_back(id, r)
    lapsed(r.kg)
    count[2] = count[2] + 1
  else
    redis.call('ZREM', k'leases', lease)
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', k'calls', '-inf', ms(t), 'LIMIT', 0, most)) do
  local r = read(id)
  if r and r.s == 'calling' then
    go_back(id, r)
    count[3] = count[3] + 1
  else
    redis.call('ZREM', k'calls', id)
  end
end

for i = 2, #ARGV do
  for _, id in ipairs(redis.call('SMEMBERS', k('calls-of:' .. ARGV[i]))) do
    local r = read(id)
    if r and r.s == 'calling' and r.w == ARGV[i] then
      go_back(id, r)
      count[4] = count[4] + 1
    end
  end
  redis.call('DEL', k('calls-of:' .. ARGV[i]))
end

-- Not before a job has come that was under way to its queue when the group was removed.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', k'leaving', '-inf', ms(t - 10000), 'LIMIT', 0, most)) do
  local queue = k('assess-' .. id)
  if redis.call('EXISTS', queue .. ':wait', queue .. ':prioritized', queue .. ':active', queue .. ':delayed', queue .. ':paused') == 0 then
    redis.call('ZREM', k'leaving', id)
    redis.call('DEL', k('group:' .. id), k('latency:' .. id))
  end
end
count[5] = redis.call('EXISTS', k'deadlines', k'leases', k'calls') == 0 and 1 or 0
return count
