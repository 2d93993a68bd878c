-- The guard of a key group: how much later than its stamp a call may be counted at the provider, against another that came
-- quicker. Windows are that much longer than the provider's, so that jitter on the way exceeds none.
--
-- Law: guard = FLOOR + c · (high − low − OWN), in ms, where high and low are the 90th and 20th percentile of the network's part of
-- this group's round trips (there and back: never less than the spread on the way there alone), each followed by stochastic
-- approximation (Robbins and Monro 1951). OWN is what timers and event loops at both ends spread by themselves; FLOOR covers the way
-- there's part of it. c is a correction: a refusal for rate widens it by GAIN · (1 − SHARE), an accepted call narrows it by
-- GAIN · SHARE, so that where the way back jitters differently from the way there, the refused share rests at SHARE. It begins at
-- BEGIN_C, near where lognormal delays bring it, so that little is refused while it is learned; GAIN is BOLDER times as much to begin
-- with, and as it is after 450 calls. Where nothing jitters the guard rests at FLOOR and nothing is refused. A provider that does
-- not say how long it worked has no spread to see: there the step of the correction is STEP ms instead.
local GUARD = { floor = 5, own = 5, begin_c = 1.7, least_c = 0.3, most_c = 4, gain = 0.05, bolder = 10, share = 0.008, step = 10, most = 250, start = 25 }

-- One step of a percentile towards a sample; steps shrink from the first samples on to a twentieth of the spread.
local function towards(value, sample, percentile, step)
  if sample > value then return value + step * percentile end
  return value - step * (1 - percentile)
end

local GUARD_FIELDS = { 'guard', 'netHigh', 'netLow', 'netSeen', 'guardC' }

-- f: values; at: where those of GUARD_FIELDS begin. accepted, refused: by the provider, for rate; network: ms, or nil when it is not
-- known. What changes goes onto `into`, by field and value.
local function learn_guard(f, at, accepted, refused, network, into)
  if not (accepted or refused or network) then return end
  local guard, high, low = tonumber(f[at] or '') or GUARD.start, tonumber(f[at + 1] or ''), tonumber(f[at + 2] or '')
  local seen, c = num(f[at + 3]), tonumber(f[at + 4] or '') or GUARD.begin_c
  local function put(field, value)
    into[#into + 1] = field
    into[#into + 1] = value
  end
  if network then
    if not high then high, low = network, network end
    seen = seen + 1
    local step = math.max(0.05 * (high - low), 0.2) * math.max(1, 50 / seen)
    high = towards(high, network, 0.9, step)
    low = math.min(high, towards(low, network, 0.2, step))
    put('netHigh', ms(high))
    put('netLow', ms(low))
    put('netSeen', seen)
  end
  if accepted or refused then
    local way = refused and 1 - GUARD.share or -GUARD.share
    local gain = seen > 0 and GUARD.gain * math.max(1, GUARD.bolder / (1 + seen / 50)) or GUARD.gain
    c = math.max(GUARD.least_c, math.min(GUARD.most_c, c + gain * way))
    if seen < 20 then guard = guard + GUARD.step * way end
    put('guardC', ms(c))
  end
  if seen >= 20 then guard = GUARD.floor + c * math.max(0, high - low - GUARD.own) end
  put('guard', ms(math.max(GUARD.floor, math.min(GUARD.most, guard))))
end
