-- The states of a key group and its keys. Set before the scripts that ask or change them. The law is that of key-state.ts,
-- and of rest.ts for how long a group rests, which explain it and by which this is tested; that a call is no longer under way
-- is room.lua's (lease_over).
--
-- A record stands in the group's hash, with the suffix '' for the group itself and ':<key>' for a key. Beside it, for people:
-- cause (an error code), reason (<cause>:<what the provider meant>, of that cause alone), cools (what was full or is out of use) and until (when that ends by itself, where it is known).
local OPENS_AFTER, LONGEST_REST_MS, LONGEST_PROBE_MS, PROBE_AGAIN_MS = 5, 120000, 3600000, 3000
local HALF_LIFE_MS, ASSUMED_SUCCESSES, JITTER = 30000, 4, 0.2

-- The fields of a record, in the order in which state_from takes them.
local function state_fields(into, suffix)
  local n = #into
  into[n + 1], into[n + 2], into[n + 3], into[n + 4] = 'coolUntil' .. suffix, 'failures' .. suffix, 'open' .. suffix, 'off' .. suffix
  into[n + 5], into[n + 6], into[n + 7] = 'probeAt' .. suffix, 'strikes' .. suffix, 'probing' .. suffix
end

-- f: values; at: where the record's begin.
local function state_from(f, at, suffix)
  local off = f[at + 3]
  return { coolUntil = num(f[at]), failures = num(f[at + 1]), open = f[at + 2] == '1', off = (off == 'refused' or off == 'by_hand') and off or 'no',
    probeAt = num(f[at + 4]), strikes = num(f[at + 5]), probing = num(f[at + 6]), suffix = suffix }
end

-- 'yes' | 'probe' (one task, the least urgent that waits) | 'no', and when to ask again (nil: not before an event).
local function may_call(s, t)
  if s.off == 'by_hand' then return 'no' end
  local rests = math.max(s.coolUntil, s.off == 'refused' and s.probeAt or 0)
  if rests > t then return 'no', rests end
  if s.off == 'no' and not s.open then return 'yes' end
  if s.probing > t then return 'no', s.probing end
  return 'probe'
end

local function set(s, field, value)
  if s[field] == value then return end
  s[field] = value
  s.changed = s.changed or {}
  s.changed[field] = true
end

local function round(v) return math.floor(v + 0.5) end

local function varied(v, most, random) return math.min(most, round(v * (1 + JITTER * random))) end

local function rest_of(rest, share, random)
  if rest.kind == 'fixed' then return rest.varies and varied(rest.ms, math.huge, random) or rest.ms end
  if share <= rest.tolerated then return varied(rest.calmMs, rest.calmMostMs, random) end
  local top = math.max(rest.leastMs, rest.mostMs)
  local stretch = (math.max(rest.leastMs, top / (1 + JITTER)) - rest.leastMs) * ((share - rest.tolerated) / (1 - rest.tolerated))
  return varied(rest.leastMs + stretch, top, random)
end

local function recovered(s)
  if s.off == 'by_hand' then return end
  set(s, 'off', 'no')
  set(s, 'open', false)
  for _, field in ipairs({ 'failures', 'strikes', 'probeAt', 'probing' }) do set(s, field, 0) end
end

-- A call of this record has said `kind`. probe: it was its probe; cool: ms that a limited or failed one makes it rest.
local function learn_state(s, said, probe, t, cool, random)
  local kind = said.kind
  if probe and (kind == 'succeeded' or kind == 'innocent' or kind == 'limited') then recovered(s) end
  if kind == 'succeeded' then
    set(s, 'failures', 0)
  elseif kind == 'returned' and probe then
    if s.off == 'refused' then set(s, 'probeAt', math.max(s.probeAt, t + PROBE_AGAIN_MS))
    elseif s.off == 'no' and s.open then set(s, 'coolUntil', math.max(s.coolUntil, t + PROBE_AGAIN_MS)) end
  elseif kind == 'limited' then
    set(s, 'coolUntil', math.max(s.coolUntil, t + cool))
  elseif kind == 'failed' then
    set(s, 'failures', s.failures + 1)
    if s.failures >= OPENS_AFTER then set(s, 'open', true) end
    if probe and s.off == 'no' then set(s, 'strikes', s.strikes + 1) end
    local doubled = s.off == 'no' and math.min(LONGEST_REST_MS, cool * 2 ^ s.strikes) or cool
    local rest = probe and math.max(cool, round(doubled * (0.9 + 0.2 * random))) or cool
    set(s, 'coolUntil', math.max(s.coolUntil, t + rest))
  elseif kind == 'refused' and s.off ~= 'by_hand' and (probe or s.off ~= 'refused') then
    set(s, 'strikes', s.off == 'refused' and s.strikes + 1 or 0)
    set(s, 'off', 'refused')
    local at = t + round(math.min(LONGEST_PROBE_MS, said.firstMs * 2 ^ s.strikes) * (0.9 + 0.2 * random))
    local till = tonumber(said.untilInMs)
    set(s, 'probeAt', till and math.min(at, t + till) or at)
  end
end

-- Fields and values of what has changed, onto `into`.
local TIMES = { coolUntil = true, probeAt = true, probing = true }
local function changes_of(s, into)
  for field in pairs(s.changed or {}) do
    local v = s[field]
    if v == true then v = '1' elseif v == false then v = '0' elseif TIMES[field] then v = ms(v) end
    into[#into + 1] = field .. s.suffix
    into[#into + 1] = v
  end
end
