-- Whose turn it is, among key groups and among a group's keys, so that every process that takes sees one and the same order.
--
-- Law: stride scheduling (Waldspurger and Weihl 1995) by start tags (Goyal, Vin and Cheng 1996). Each has its next turn in virtual
-- time; the earliest is chosen, and its turn moves on by a stride: 1 (round_robin), 1 / weight (weighted), or drawn from the
-- exponential distribution (random: such clocks have no memory, so that each choice is an even one of its own). least_loaded
-- goes by what is in flight first, and by turns among equals. Who could not be chosen for a while comes back with at most
-- CREDIT strides of arrears, so that nobody catches up by taking everything.
--
-- Groups that may be free stand in <p>ready:<kind>, group -> place in that order; the others in <p>free until they may be.
local CREDIT = 2
-- Places of least_loaded: so many for each task in flight, more than turns there will be.
local LOADED = 1e9

local known_routing -- of this run

local function routing()
  known_routing = known_routing or redis.call('HGET', k'settings', 'routing') or 'round_robin'
  return known_routing
end

-- Every script begins with the same numbers, unless told otherwise.
local drawn
local function chance()
  if not drawn then math.randomseed((now() * 1000 + 7919 * num(redis.call('GET', k'turn'))) % 2147483647) end
  drawn = true
  return math.random()
end

local function stride_of(strategy, weight)
  if strategy == 'weighted' then return 1 / weight end
  if strategy == 'random' then return -math.log(1 - chance()) end
  return 1
end

-- Chosen at its turn `own`, when virtual time has reached `reached`: its next turn, and how far virtual time is then. in_full: its
-- arrears are not cut.
local function turn_after(strategy, weight, own, reached, in_full)
  local stride = stride_of(strategy, weight)
  local start = in_full and own or math.max(own, reached - CREDIT * stride)
  return start + stride, math.max(reached, start)
end

-- Its turn under another strategy or weight than those by which it was reckoned: no further ahead than one stride, which is what
-- the call before would have cost.
local function turn_within(own, strategy, weight, reached)
  if strategy == 'random' then return own end
  return math.min(own, reached + stride_of(strategy, weight))
end

local function place_at(turn, in_flight) return routing() == 'least_loaded' and in_flight * LOADED + turn or turn end

local function ready_of(kind) return k('ready:' .. kind) end
-- Those that may be free for urgent tasks alone (reserve.lua); they stand in <p>free too, until they may be for others.
local function spare_of(kind) return k('spare:' .. kind) end

-- Lists of the kinds that a routing policy allows, in the order of its preference (policies.lua). '': the one that allows all.
local known_tiers = {} -- of this run
local function tiers_of(route)
  if not known_tiers[route] then
    local text = redis.call('HGET', k'routes', route)
    if not text and route == '' then text = '0' end
    local tiers = {}
    for i, kinds in ipairs(split(text or '', '[^;]+')) do tiers[i] = split(kinds, '[^,]+') end
    known_tiers[route] = tiers
  end
  return known_tiers[route]
end

local function kinds_of(route)
  local all = {}
  for _, kinds in ipairs(tiers_of(route)) do
    for _, kind in ipairs(kinds) do all[#all + 1] = kind end
  end
  return all
end

-- The group may be free again.
local function come_forward(group)
  local f = redis.call('HMGET', k('group:' .. group), 'kind', 'turn', 'inFlight')
  local turn, strategy = num(f[2]), routing()
  if strategy == 'random' or strategy == 'least_loaded' then
    local reached = num(redis.call('GET', k'reached'))
    turn = strategy == 'random' and reached + stride_of(strategy) or math.max(turn, reached - CREDIT)
    redis.call('HSET', k('group:' .. group), 'turn', string.format('%.17g', turn))
  end
  local kind = f[1] or '0'
  redis.call('ZADD', ready_of(kind), string.format('%.17g', place_at(turn, num(f[3]))), group)
  redis.call('ZREM', spare_of(kind), group)
  redis.call('ZREM', k'free', group)
end

-- The group is not free before `till`; order: where it stood.
local function step_aside(group, order, till)
  redis.call('ZREM', order, group)
  redis.call('ZADD', k'free', ms(till), group)
end

-- The group has one less in flight.
local function lighten(group)
  if routing() ~= 'least_loaded' then return end
  local kind = redis.call('HGET', k('group:' .. group), 'kind') or '0'
  for _, order in ipairs({ ready_of(kind), spare_of(kind) }) do redis.call('ZADD', order, 'XX', 'INCR', -LOADED, group) end
end
