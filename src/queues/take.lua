-- Takes the best waiting tasks, each together with a lease of a free key group, in one step.
-- ARGV[1] most to take; ARGV[2] ms after which an unspent lease lapses; ARGV[3] ms that a lease may be granted ahead of its
-- place in the windows: the way to the worker takes so long anyway, and the worker waits for the rest
-- Replies { waitMs | -1 (nothing waits), taken… } each taken: { id, epoch, group, key, attempts, remainingMs (0: never ends),
-- camera, json }
local t = now()
local lapse = tonumber(ARGV[2])
local ahead = tonumber(ARGV[3])
local taken = {}
local MOST_ASKED = 64
local at_once = false -- not everything was asked, or a group might call and no task suits it

-- The group's median latency. What was learned more than 30 s ago is forgotten: a group that was slow once must get the
-- call by which it can show that it is not.
local function median_of(group)
  local f = redis.call('HMGET', k('group:' .. group), 'median', 'medianAt')
  return t - num(f[2]) < 30000 and num(f[1]) or 0
end

-- Another group may be free soon: only then is one avoided for a while. Asked of a group that is ready itself.
local function others_soon(route)
  local kinds, ready = {}, -1
  for _, kind in ipairs(kinds_of(route)) do
    kinds[kind] = true
    ready = ready + redis.call('ZCARD', ready_of(kind))
  end
  if ready > 0 then return true end
  if route == '' then return redis.call('ZCOUNT', k'free', '-inf', ms(t + 1000)) > 0 end
  for _, group in ipairs(redis.call('ZRANGEBYSCORE', k'free', '-inf', ms(t + 1000), 'LIMIT', 0, MOST_ASKED)) do
    if kinds[redis.call('HGET', k('group:' .. group), 'kind') or '0'] then return true end
  end
  return false
end

local others = {} -- policy -> whether another group may be free soon

local function suits(id, group, median, route)
  local f = redis.call('HMGET', k('task:' .. id), 'dl', 'no', 'nountil')
  local left = num(f[1]) > 0 and num(f[1]) - t or math.huge
  if left < median or left <= 0 then return false end
  if f[2] ~= group or num(f[3]) <= t then return true end
  if others[route] == nil then others[route] = others_soon(route) end
  return not others[route]
end

-- Best task of this policy that this group may judge now: highest band, the camera whose turn it is, its newest capture.
local function best_task(group, median, route)
  local looks = 0
  for band = BANDS - 1, 0, -1 do
    local from, turns = 0, turns_in(band, route)
    while true do
      local cameras = redis.call('ZRANGE', turns, from, from + 15)
      if #cameras == 0 then break end
      for _, camera in ipairs(cameras) do
        looks = looks + 1
        if looks > 64 then return nil end
        for _, id in ipairs(redis.call('ZREVRANGE', turns .. ':' .. camera, 0, 2)) do
          if suits(id, group, median, route) then return id end
        end
      end
      from = from + 16
    end
  end
end

-- The newest of the urgent ones of this policy that this group may judge now.
local function urgent_task(group, median, route)
  for _, id in ipairs(redis.call('ZREVRANGE', urgent_in(route), 0, 31)) do
    if suits(id, group, median, route) then return id end
  end
end

-- The group has no place before `at`; it is asked again at `asked`. order: where it stands.
local function not_before(group, order, at, why, asked)
  step_aside(group, order, asked - ahead)
  redis.call('HSET', k('group:' .. group), 'waitsFor', why, 'waitsUntil', ms(at))
end

-- The task leaves the room with a lease of this group and key, stamped at `at`. probe: what is probed with its call.
local function take_task(id, r, group, order, key, probe, at, tokens)
  leave_room(id, r)
  local epoch = num(r.e) + 1
  local lease = id .. '#' .. epoch
  local slot = math.max(t, at)
  stamp(group, lease, slot, slot + lapse, tokens)
  redis.call('ZADD', k'leases', ms(slot + lapse), lease)
  redis.call('HSET', k('task:' .. id), 's', 'taken', 'e', epoch, 'kg', group, 'key', key, 'tk', ms(t), 'p', probe)
  local turn = redis.call('INCR', k'turn')
  redis.call('HSET', k'turns', r.c, turn)
  for b = 0, BANDS - 1 do redis.call('ZADD', turns_in(b, r.pc), 'XX', turn, r.c) end
  local since = t - num(redis.call('ZSCORE', k'active', group) or '0')
  redis.call('ZADD', k'active', ms(t), group)
  if since > 5000 then redis.call('PUBLISH', k'wake-worker', group) end
  lease_taken(group, key, probe, slot + lapse)
  count_turn(group, order, turn, since)
  count_key_turn(group, key)
  local dl = num(r.dl)
  return { id, tostring(epoch), group, key, r.a or '0', dl > 0 and ms(dl - t) or '0', r.c, r.json or '' }
end

-- The policies of waiting tasks, those of the most urgent first, then of the camera whose turn it is.
local function routes_in_turn()
  local waits = redis.call('HKEYS', k'waits')
  if #waits == 0 then return { '' } end
  local routes, urgency, turn = {}, {}, {}
  waits[#waits + 1] = ''
  for _, route in ipairs(waits) do
    for band = BANDS - 1, 0, -1 do
      local head = redis.call('ZRANGE', turns_in(band, route), 0, 0, 'WITHSCORES')
      if head[1] then
        routes[#routes + 1], urgency[route], turn[route] = route, band, num(head[2])
        break
      end
    end
  end
  table.sort(routes, function(a, b)
    if urgency[a] ~= urgency[b] then return urgency[a] > urgency[b] end
    if turn[a] ~= turn[b] then return turn[a] < turn[b] end
    return a < b
  end)
  return routes
end

-- Of this policy the best task and the group whose turn it is; urgent: only such a task, of a group that has places left for
-- those alone. A group that cannot is put where it may be free again.
local function take_one_of(route, urgent)
  local passed = {}
  local order_of, task_for = urgent and spare_of or ready_of, urgent and urgent_task or best_task
  for _ = 1, MOST_ASKED do
    local group, kind = group_in_turn(tiers_of(route), passed, order_of)
    if not group then return nil end
    local order = order_of(kind)
    local key, closed, probe, spare = choose_key(group, t)
    if not key then
      step_aside(group, order, closed)
    else
      -- First for the smallest call: most groups that cannot are known without looking at tasks.
      local at, why, windows = free_at(group, t, num(redis.call('HGET', k('group:' .. group), 'promptTokens')))
      local asked, tokens, opens = at, 0, t
      local id
      if at <= t + ahead then
        local median = median_of(group)
        if probe ~= '' and not urgent then id = probe_task(group, kind, t) end
        if probe ~= '' and not id and spare then key, probe = spare, '' end
        if probe == '' then id = task_for(group, median, route) end
      end
      local r = id and read(id)
      if r and windows.tokens then
        tokens = tokens_of(group, r)
        at, why = free_at(group, t, tokens)
        asked = math.min(at, t + 1000) -- another task may need less, so that this is not the last word
      end
      if r and at <= t + ahead and r.hi ~= '1' and probe == '' then opens = open_to_all_from(group, windows, t, tokens) end
      if at > t + ahead then
        not_before(group, order, at, why, asked)
      elseif opens > t + ahead then
        redis.call('ZADD', spare_of(kind), redis.call('ZSCORE', order, group), group)
        not_before(group, order, opens, 'reserve', math.min(math.max(opens, t + ahead + 20), t + 1000))
      elseif r then
        return take_task(id, r, group, order, key, probe, at, tokens)
      elseif probe ~= '' and not urgent then
        step_aside(group, order, t + NO_PROBE_MS) -- nothing that waits is good for its probe
      else
        passed[kind] = (passed[kind] or 0) + 1
        at_once = at_once or not urgent
      end
    end
  end
  at_once = true
end

local done_with = {} -- policies of whose groups none is free, or of none any use
local function take_one()
  for _, route in ipairs(routes_in_turn()) do
    if not done_with[route] then
      local one = take_one_of(route, false)
      if not one and reserve_known(t) and redis.call('EXISTS', urgent_in(route)) == 1 then one = take_one_of(route, true) end
      if one then return one end
      done_with[route] = true
    end
  end
end

local most = tonumber(ARGV[1])
while #taken < most and redis.call('EXISTS', k'wait') == 1 do
  if #taken == 0 then
    for _, group in ipairs(redis.call('ZRANGEBYSCORE', k'free', '-inf', ms(t), 'LIMIT', 0, MOST_ASKED)) do come_forward(group) end
  end
  local one = take_one()
  if not one then break end
  taken[#taken + 1] = one
end

local wait = '-1'
if redis.call('EXISTS', k'wait') == 1 then
  local first = redis.call('ZRANGE', k'free', 0, 0, 'WITHSCORES')
  wait = (at_once or #taken == most) and '0' or first[2] and ms(math.max(num(first[2]) - t, 0)) or '1000'
end
local reply = { wait }
for _, one in ipairs(taken) do reply[#reply + 1] = one end
return reply
