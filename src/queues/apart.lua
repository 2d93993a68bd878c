-- A call apart from any task (a person tries a key): takes its places in all windows of the key group now, or none. Whether the
-- group or its key cools does not matter: that is what is tried.
-- ARGV: "reserve", group, lease, tokens, how long it may take at most (ms) | "end", lease, tokens ("": not known, or none told)
-- Replies { granted } | { wait, ms, window } | { unknown } (no such group) | { ended }
if ARGV[1] == 'end' then
  end_call(ARGV[2], tonumber(ARGV[3]))
  return { 'ended' }
end
local group, lease, tokens, timeout = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('SISMEMBER', k'groups', group) == 0 then return { 'unknown' } end
local t = now()
local at, window = free_at(group, t, tokens)
if at > t then return { 'wait', ms(at - t + 0.001), window } end
stamp(group, lease, t, t + timeout + 1000, tokens, true)
redis.call('PEXPIRE', lease_key(lease), math.ceil(timeout) + RECORD_MS)
return { 'granted' }
