-- Takes the best waiting tasks, each together with a lease of a free key group, in one step.
-- ARGV[1] most to take; ARGV[2] ms after which an unspent lease lapses; ARGV[3] ms that a lease may be granted ahead of its
-- place in the windows: the way to the worker takes so long anyway, and the worker waits for the rest
-- Replies { waitMs | -1 (nothing waits), taken… } each taken: { id, epoch, group, key, attempts, remainingMs (0: never ends),
-- camera, json }
if redis.call('EXISTS', k'wait') == 0 then return { '-1' } end
local t = now()
local lapse = tonumber(ARGV[2])
local ahead = tonumber(ARGV[3])
local taken = {}
local MOST_ASKED, MOST_SEEN = 64, 1000
local at_once = false -- not everything was asked
local unsuited = false -- a group might call, and no task suits it
local UNSUITED_MS = 100 -- until then, or until a task comes

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

-- What decides which groups may judge a waiting task: { id, left (ms), no (the group that it avoids now) }.
local function facts_of(id)
  local f = redis.call('HMGET', k('task:' .. id), 'dl', 'no', 'nountil')
  return { id = id, left = num(f[1]) > 0 and num(f[1]) - t or math.huge, no = num(f[3]) > t and f[2] }
end

-- Whether this group may judge the task now; and whether it is left to others alone for a while.
local function suits(task, group, median, route)
  if task.left < median or task.left <= 0 then return false end
  if task.no ~= group then return true end
  if others[route] == nil then others[route] = others_soon(route) end
  return not others[route], others[route]
end

-- A policy's waiting tasks in turn (highest band, the camera whose turn it is, its newest captures), as far as they were looked at
-- since the last one was taken: many groups may have to look at the same ones.
local lines = {}
local LOOKS = 64 -- cameras

local function next_camera(line, route)
  while line.band >= 0 do
    local camera = line.cameras[line.at]
    line.at = line.at + 1
    if camera then return camera end
    line.cameras, line.at = redis.call('ZRANGE', turns_in(line.band, route), line.from, line.from + 15), 1
    line.from = line.from + 16
    if #line.cameras == 0 then line.band, line.from = line.band - 1, 0 end
  end
end

-- Looks at one more camera's tasks; false: at no more.
local function look_on(line, route)
  local camera = line.looks < LOOKS and next_camera(line, route)
  if not camera then return false end
  line.looks = line.looks + 1
  for _, id in ipairs(redis.call('ZREVRANGE', turns_in(line.band, route) .. ':' .. camera, 0, 2)) do line.tasks[#line.tasks + 1] = facts_of(id) end
  return true
end

-- Best task of this policy that this group may judge now.
local function best_task(group, median, route)
  local line = lines[route] or { band = BANDS - 1, from = 0, cameras = {}, at = 1, looks = 0, tasks = {}, hopeless = math.huge }
  lines[route] = line
  if median >= line.hopeless then return nil end
  local nth, left_to_others = 1, false
  repeat
    while line.tasks[nth] do
      local may, avoided = suits(line.tasks[nth], group, median, route)
      if may then return line.tasks[nth].id end
      left_to_others, nth = left_to_others or avoided, nth + 1
    end
  until not look_on(line, route)
  if not left_to_others then line.hopeless = median end -- for every group that takes so long
end

-- The newest of the urgent ones of this policy that this group may judge now.
local function urgent_task(group, median, route)
  for _, id in ipairs(redis.call('ZREVRANGE', urgent_in(route), 0, 31)) do
    if suits(facts_of(id), group, median, route) then return id end
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
  lines = {}
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
  local aside = 0
  for seen = 1, MOST_SEEN do
    local group, kind = group_in_turn(tiers_of(route), passed, order_of)
    if not group then return nil end
    if seen > MOST_ASKED and aside > 0 then break end
    local order = order_of(kind)
    -- Beyond the first ones, which no task suits: only those that are quicker.
    local slow = seen > MOST_ASKED and lines[route] and median_of(group) >= lines[route].hopeless
    local key, closed, probe, spare
    if not slow then key, closed, probe, spare = choose_key(group, t) end
    if slow then
      passed[kind] = (passed[kind] or 0) + 1
    elseif not key then
      aside = aside + 1
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
        aside = aside + 1
        not_before(group, order, at, why, asked)
      elseif opens > t + ahead then
        aside = aside + 1
        redis.call('ZADD', spare_of(kind), redis.call('ZSCORE', order, group), group)
        not_before(group, order, opens, 'reserve', math.min(math.max(opens, t + ahead + 20), t + 1000))
      elseif r then
        return take_task(id, r, group, order, key, probe, at, tokens)
      elseif probe ~= '' and not urgent then
        step_aside(group, order, t + NO_PROBE_MS) -- nothing that waits is good for its probe
      else
        passed[kind] = (passed[kind] or 0) + 1
        unsuited = unsuited or not urgent
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
  wait = first[2] and math.max(num(first[2]) - t, 0) or 1000
  if at_once or #taken == most then
    wait = 0
  elseif unsuited then
    wait = math.min(wait, UNSUITED_MS)
    redis.call('SET', k'unsuited', '1', 'PX', 1000) -- room.lua tells of the next task that comes
  end
  wait = ms(wait)
end
local reply = { wait }
for _, one in ipairs(taken) do reply[#reply + 1] = one end
return reply
