-- Key groups that need a worker. ARGV[1] ms: those that were given a job within so long; ARGV[2] "1": also those with jobs in
-- their queue (put there by hand, or left by a worker that died), for which every queue is looked at. Replies ids.
local ids = redis.call('ZRANGEBYSCORE', k'active', ms(now() - tonumber(ARGV[1])), '+inf')
if ARGV[2] ~= '1' then return ids end
local listed = {}
for _, id in ipairs(ids) do listed[id] = true end
for _, id in ipairs(redis.call('SMEMBERS', k'groups')) do
  local queue = k('assess-' .. id)
  if not listed[id] and redis.call('EXISTS', queue .. ':wait', queue .. ':prioritized', queue .. ':active') > 0 then ids[#ids + 1] = id end
end
return ids
