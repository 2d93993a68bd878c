-- A worker has started that holds these keys, maybe with other secrets than those that were refused: what is disabled is probed at
-- once (key-state.ts, worker_started). ARGV: group, key, group, key, …
local t = now()
for i = 1, #ARGV, 2 do
  local g = k('group:' .. ARGV[i])
  for _, suffix in ipairs({ '', ':' .. ARGV[i + 1] }) do
    if redis.call('HGET', g, 'off' .. suffix) == 'refused' then
      redis.call('HSET', g, 'probeAt' .. suffix, ms(t), 'strikes' .. suffix, '0')
      redis.call('ZADD', k'free', 'XX', 'LT', ms(t), ARGV[i])
    end
  end
end
return 'OK'
