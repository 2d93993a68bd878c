-- Both "", a cause (an error code), or cause and reason ("QUOTA_EXHAUSTED day"). Told without its reason, by an older worker or bridge,
-- a cause is the same one.
local function same_why(one, other)
  local cause, reason = string.match(one, '^(%S*) ?(.*)$')
  local other_cause, other_reason = string.match(other, '^(%S*) ?(.*)$')
  return cause == other_cause and (reason == other_reason or reason == '' or other_reason == '')
end

-- Notes that a key group ("group") or key ("group/key") is in this state, where it was last seen in another one or for another cause.
-- why: as above.
-- to: the keys states (who -> "at state why"), changes (stream), counts (who:state -> times), and the most changes kept. last: its
-- entry in states, or false. at: when it is so (ms, store's clock); till: until when, ms, or "". Who is seen for the first time has
-- not changed; what was seen later stands. Returns whether it is a change.
local function note_change(to, last, who, state, why, till, at)
  local since, from, before = string.match(last or '', '^(%S+) (%S+) (.*)$')
  if since and ((from == state and same_why(before, why)) or tonumber(since) >= at) then return false end
  redis.call('HSET', to.states, who, string.format('%.0f', at) .. ' ' .. state .. ' ' .. why)
  if not since then return false end
  local group, key = string.match(who, '^([^/]+)/?(.*)$')
  local cause, reason = string.match(why, '^(%S*) ?(.*)$')
  local change = { keyGroup = group, keyId = key ~= '' and key or cjson.null, from = from, to = state,
    cause = cause ~= '' and cause or cjson.null, reason = reason ~= '' and reason or cjson.null, untilMs = tonumber(till) or cjson.null, atMs = at }
  redis.call('XADD', to.changes, 'MAXLEN', to.most, '*', 'json', cjson.encode(change))
  redis.call('HINCRBY', to.counts, who .. ':' .. state, 1)
  return true
end
