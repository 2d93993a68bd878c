-- Key groups that need a worker: given a job lately, or with jobs in their queue (put there by hand, or left by a worker
-- that died). ARGV[1] ms that count as lately. Replies ids.
local t = now()
local ids = {}
for _, id in ipairs(redis.call('SMEMBERS', k'groups')) do
  local queue = k('assess-' .. id)
  if num(redis.call('ZSCORE', k'active', id) or '0') >= t - tonumber(ARGV[1])
    or redis.call('EXISTS', queue .. ':wait', queue .. ':prioritized', queue .. ':active') > 0 then
    ids[#ids + 1] = id
  end
end
return ids
