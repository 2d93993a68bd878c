-- Puts back into the windows what a worker spent and the store has forgotten. ARGV, for each call: group, task id, epoch,
-- stamp as spend told it, ms by which its request left later, ms for which it may still be in flight (0: it has ended).
-- Idempotent. Replies how many are of groups that are not known yet: to be put back again. Where others are known, those that
-- are not a minute after the call were removed: nobody waits for them.
--
-- A call goes under a name of its own, since its task may be taken again under the same epoch. Its tokens are the estimate;
-- where its task is forgotten too, of the prompt and the answer alone.
local unknown = 0
local REMOVED_MS = 60000
local any_known = redis.call('EXISTS', k'groups') == 1
for i = 1, #ARGV, 6 do
  local group, id, epoch, at = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('SISMEMBER', k'groups', group) == 0 then
    if not any_known or now() - num(at) < REMOVED_MS then unknown = unknown + 1 end
  else
    local f = redis.call('HMGET', k('task:' .. id), 'e', 'st')
    local remembered = f[1] == epoch and f[2] and num(f[2]) == num(at)
    local lease = id .. '#' .. epoch .. '~' .. at
    if not remembered and redis.call('EXISTS', lease_key(lease)) == 0 then
      local stamped = num(at) + num(ARGV[i + 4])
      stamp(group, lease, stamped, stamped + num(ARGV[i + 5]), tokens_of(group, read(id) or {}), true)
      redis.call('PEXPIRE', lease_key(lease), RECORD_MS)
    end
  end
end
return unknown
