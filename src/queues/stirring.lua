-- Key groups that need a worker. ARGV[1] ms: those that were given a job within so long; ARGV[2] "1": also those with jobs in
-- their queue (put there by hand, or left by a worker that died), for which every queue is looked at. Replies ids.
local ids = redis.call('ZRANGEBYSCORE', k'active', ms(at_a_glance() - tonumber(ARGV[1])), '+inf')
if ARGV[2] ~= '1' then return ids end
local listed = {}
for _, id in ipairs(ids) do listed[id] = true end
local function has_jobs(queues) return redis.call('EXISTS', unpack(queues)) > 0 end
local function lists_of(id)
  local queue = k('assess-' .. id)
  return queue .. ':wait', queue .. ':prioritized', queue .. ':active'
end
-- A hundred at a time: mostly none of them has any.
local groups = redis.call('SMEMBERS', k'groups')
for from = 1, #groups, 100 do
  local queues = {}
  local to = math.min(from + 99, #groups)
  for i = from, to do
    local n = #queues
    queues[n + 1], queues[n + 2], queues[n + 3] = lists_of(groups[i])
  end
  if has_jobs(queues) then
    for i = from, to do
      if not listed[groups[i]] and has_jobs({ lists_of(groups[i]) }) then ids[#ids + 1] = groups[i] end
    end
  end
end
return ids
