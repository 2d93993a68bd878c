-- Binds the windows' logs to this run of the store (run.lua, which stands before this, has looked at the run by now).
-- ARGV[1] "1": this store may come back without its newest writes; "0": it loses none.
-- ARGV[2] "1": the caller knew another run before. A store that does not know any has then forgotten all of it, and is
-- bound to a run that never was: once the groups are registered again, the first script that asks for a call closes them.
if ARGV[1] ~= '1' then
  redis.call('DEL', k'run')
elseif not known_run then
  redis.call('SET', k'run', ARGV[2] == '1' and 'forgotten' or store_run())
end
return 'OK'
