-- A reserve for urgent tasks (those whose score alone puts them into a top band), so that they find a place although the others
-- want more than there is. Set before those that admit and that take.
--
-- Law: any other task takes a place of a window only if urgent ones, coming as they came within the last window's length, would
-- still find one within PATIENCE_MS, at whatever moment they come: for each horizon s = PATIENCE_MS · 4^k within the window,
-- 1 + a(4s) places are free by t + s, where a is what urgent ones are expected to need until then (x + 2√x of x expected, the
-- 97th percentile or so of a Poisson count; its part of it, for a group's own windows) and at most the share `reserve` of the
-- window. So nothing is held back where places come free all the time, nor when no urgent task has come for two window lengths,
-- and the nearer the moment at which the window frees, the less.
--
-- <p>urgent-seen: window's length -> "x@t", a count of urgent tasks that decays with that length (so that it rests at what
-- comes in one), as of t.
local PATIENCE_MS = 1000

local function seen_as_of(text, span, t)
  local x, at = string.match(text or '', '^(.*)@(.*)$')
  return x and num(x) * math.exp(-math.max(0, t - num(at)) / span) or 0
end

local function note_urgent(t)
  local s = redis.call('HMGET', k'settings', 'reserve', 'spans')
  if num(s[1]) <= 0 then return end
  for _, span in ipairs(split(s[2], '[^,]+')) do
    local x = seen_as_of(redis.call('HGET', k'urgent-seen', span), num(span), t) + 1
    redis.call('HSET', k'urgent-seen', span, string.format('%.6f@%.3f', x, t))
  end
end

local expected -- of this run: window's length -> how many urgent tasks come in one; false: none is reserved
local share, group_count

local function reserve_known(t)
  if expected ~= nil then return expected end
  expected = false
  local flat = redis.call('HGETALL', k'urgent-seen')
  share = #flat > 0 and num(redis.call('HGET', k'settings', 'reserve')) or 0
  if share <= 0 then return expected end
  group_count = math.max(1, redis.call('SCARD', k'groups'))
  expected = {}
  for i = 1, #flat, 2 do expected[num(flat[i])] = seen_as_of(flat[i + 1], num(flat[i]), t) end
  return expected
end

-- The earliest moment from t on, as it looks now, at which a task that is not urgent may have its place in the group's windows.
local function open_to_all_from(group, list, t, tokens)
  local at = t
  if not reserve_known(t) then return at end
  local part = num(redis.call('HGET', k('group:' .. group), 'part'))
  for _, w in ipairs(list) do
    local in_one, cost = expected[w.ms] or 0, cost_in(w, tokens)
    local most = w.ms > PATIENCE_MS and in_one > 0 and math.floor(share * w.limit / cost) or 0
    local s, last = PATIENCE_MS, 0
    while s < w.ms and last < most do
      local n = in_one * math.min(4 * s, w.ms) / w.ms
      n = n + 2 * math.sqrt(n)
      -- Of what all together need, the groups' parts add up to the whole: those of the first ones are rounded up.
      local own = string.sub(w.name, 1, 1) == '@' and n or n / group_count + 1.00001 - part
      local held = math.min(most, math.floor(own))
      if held > last then
        at = math.max(at, w.law.free_from(w, t, cost * (1 + held)) - s)
        last = held
      end
      s = s * 4
    end
  end
  return at
end
