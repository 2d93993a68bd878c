-- Removed key groups that still have jobs in their queue. Replies ids.
local ids = {}
for _, id in ipairs(redis.call('ZRANGE', k'leaving', 0, -1)) do
  local queue = k('assess-' .. id)
  if redis.call('EXISTS', queue .. ':wait', queue .. ':prioritized', queue .. ':active') > 0 then ids[#ids + 1] = id end
end
return ids
