-- Takes the best waiting tasks, each together with a lease of a free key group, in one step.
-- ARGV[1] most to take; ARGV[2] ms after which an unspent lease lapses; ARGV[3] ms that a lease may be granted ahead of its
-- place in the windows: the way to the worker takes so long anyway, and the worker waits for the rest
-- Replies { waitMs | -1 (nothing waits), taken… } each taken: { id, epoch, group, key, attempts, remainingMs (0: never ends),
-- camera, json }
local t = now()
local lapse = tonumber(ARGV[2])
local ahead = tonumber(ARGV[3])
local taken = {}

-- The group's median latency. What was learned more than 30 s ago is forgotten: a group that was slow once must get the
-- call by which it can show that it is not.
local function median_of(group)
  local f = redis.call('HMGET', k('group:' .. group), 'median', 'medianAt')
  return t - num(f[2]) < 30000 and num(f[1]) or 0
end

-- Another group may be free soon: only then is one avoided for a while.
local function others_soon(group)
  local soon = redis.call('ZCOUNT', k'free', '-inf', ms(t + 1000))
  local own = num(redis.call('ZSCORE', k'free', group) or '1e18')
  return soon > (own <= t + 1000 and 1 or 0)
end

-- Best task that this group may judge: highest band, the camera whose turn it is, its newest capture.
local function best_task(group, median)
  local looks = 0
  local others = others_soon(group)
  for band = BANDS - 1, 0, -1 do
    local from = 0
    while true do
      local cameras = redis.call('ZRANGE', k('wait:' .. band), from, from + 15)
      if #cameras == 0 then break end
      for _, camera in ipairs(cameras) do
        looks = looks + 1
        if looks > 64 then return nil end
        for _, id in ipairs(redis.call('ZREVRANGE', k('wait:' .. band .. ':' .. camera), 0, 2)) do
          local f = redis.call('HMGET', k('task:' .. id), 'dl', 'no', 'nountil')
          local left = num(f[1]) > 0 and num(f[1]) - t or math.huge
          if left >= median and left > 0 and not (others and f[2] == group and num(f[3]) > t) then return id, camera, band end
        end
      end
      from = from + 16
    end
  end
end

local function not_before(group, at, why, asked)
  redis.call('ZADD', k'free', ms((asked or at) - ahead), group)
  redis.call('HSET', k('group:' .. group), 'waitsFor', why, 'waitsUntil', ms(at))
end

-- One that cannot is put where it may be free again.
local function take_one()
  for _, group in ipairs(groups_in_turn(t)) do
    local key, closed, probe, spare = choose_key(group, t)
    if not key then
      redis.call('ZADD', k'free', ms(closed), group)
    else
      -- First for the smallest call: most groups that cannot are known without looking at tasks.
      local at, why, windows = free_at(group, t, num(redis.call('HGET', k('group:' .. group), 'promptTokens')))
      local id, camera, band, r
      local tokens, asked = 0, nil
      if at <= t + ahead then
        if probe ~= '' then id, camera, band = probe_task(group, t, median_of(group)) end
        if not id and spare then key, probe = spare, '' end
        if probe == '' then id, camera, band = best_task(group, median_of(group)) end
        r = id and read(id)
        if r and windows.tokens then
          tokens = tokens_of(group, r)
          at, why = free_at(group, t, tokens)
          asked = math.min(at, t + 1000) -- another task may need less, so that this is not the last word
        end
      end
      if at > t + ahead then
        not_before(group, at, why, asked)
      else
        if id then
          leave_room(id, band, camera)
          local epoch = num(r.e) + 1
          local lease = id .. '#' .. epoch
          local slot = math.max(t, at)
          stamp(group, lease, slot, slot + lapse, tokens)
          redis.call('ZADD', k'leases', ms(slot + lapse), lease)
          redis.call('HSET', k('task:' .. id), 's', 'taken', 'e', epoch, 'kg', group, 'key', key, 'tk', ms(t), 'p', probe)
          lease_taken(group, key, probe, slot + lapse)
          local turn = redis.call('INCR', k'turn')
          redis.call('HSET', k'turns', camera, turn)
          for b = 0, BANDS - 1 do redis.call('ZADD', k('wait:' .. b), 'XX', turn, camera) end
          redis.call('ZADD', k'free', ms(t), group)
          redis.call('HINCRBY', k('group:' .. group), 'n:' .. key, 1)
          local last = num(redis.call('ZSCORE', k'active', group) or '0')
          redis.call('ZADD', k'active', ms(t), group)
          if t - last > 5000 then redis.call('PUBLISH', k'wake-worker', group) end
          local dl = num(r.dl)
          return { id, tostring(epoch), group, key, r.a or '0', dl > 0 and ms(dl - t) or '0', camera, r.json or '' }
        end
      end
    end
  end
end

for _ = 1, tonumber(ARGV[1]) do
  if redis.call('EXISTS', k'wait') == 0 then break end
  local one = take_one()
  if not one then break end
  taken[#taken + 1] = one
end

local wait = '-1'
if redis.call('EXISTS', k'wait') == 1 then
  local first = redis.call('ZRANGE', k'free', 0, 0, 'WITHSCORES')
  wait = first[2] and ms(math.max(num(first[2]) - t, 0)) or '1000'
end
local reply = { wait }
for _, one in ipairs(taken) do reply[#reply + 1] = one end
return reply
