-- Set before the scripts that lead to calls. <p>run: the store's run that the windows' logs belong to, where a store that
-- restarts may come back without its newest writes; absent where it loses none. In another run the logs may lack the calls
-- of the last seconds. Then every key group is closed, before anything else is done, for so long that
--   - the workers that live have come back (they try once a second) and put back what they spent (put-back.lua), and
--   - the windows of a second have passed whole, whoever made the calls and lives no more.
local CLOSED_MS = 3000

local function store_run() return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end

local function close_groups()
  local till = now() + CLOSED_MS
  for _, group in ipairs(redis.call('SMEMBERS', k'groups')) do
    local g = k('group:' .. group)
    if till > num(redis.call('HGET', g, 'coolUntil')) then redis.call('HSET', g, 'coolUntil', ms(till), 'cause', 'STORE_CAME_BACK', 'cools', 'group') end
    redis.call('ZADD', k'free', 'XX', 'GT', ms(till), group)
  end
end

local known_run = redis.call('GET', k'run')
if known_run then
  local run = store_run()
  if run ~= known_run then
    redis.call('SET', k'run', run)
    close_groups()
  end
end
