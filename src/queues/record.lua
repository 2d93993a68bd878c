-- Set before every script of this folder, with the others that lua-scripts.ts names. KEYS[1] is always the prefix "{vl}:"; every key stands in that one hash slot.
--
-- Task record, hash <p>task:<id>:
--   s state (waiting|taken|queued|calling|done)   e epoch   a attempts   r revision   o outcome (or 'handed': others judge it)   h hash of its content   hh: and that by which it was handed over
--   c camera   cap capturedAt ms   ord order among a camera's messages   dl deadline ms on the store's clock, 0 never
--   b band 0..4   sig bbox and tracks   ns 1: never superseded   since when its scene began to wait   json the task
--   ad, tk, st: admitted, taken, started (ms)   kg key group   key key id   w worker   no, nountil: group to avoid, until
--   p: what is probed with its call, "group", "key", "group,key" or ""
--   hi 1: urgent by its score alone, whatever it has waited
--   pc: id of its routing policy (policies.lua), "": any group may judge it
--   tok: tokens besides the prompt's, by rule of counting pictures (token-estimate.ts), "n,n,…"
--   un: the last answer when it could not be read, JSON   f refusals so far   img reference of its image   hash of how it looks, reuse ms
-- Waiting:  <p>wait zset id -> band*1e14+cap (the order seen by people and by overflow)
--           <p>wait:<band> zset camera -> turn;  <p>wait:<band>:<camera> zset id -> cap;  <p>wait-of:<camera> zset id -> cap
--           of tasks with a routing policy <p>wait:<band>@<policy>[:<camera>] instead;  <p>waits hash policy -> how many of them
--           <p>urgent[@<policy>] zset id -> cap, of those whose score alone is high;  <p>urgent-seen (reserve.lua)
--           <p>deadlines zset id -> deadline;  <p>unsuited: a group is free for which no waiting task is, take.lua
-- Moving:   <p>leases zset <id>#<epoch> -> lapse time;  <p>calls zset id -> time by which the call must have ended
--           <p>calls-of:<worker> set of ids
-- Groups:   <p>groups set;  <p>group:<id> hash (its state and its keys': key-state.lua);  <p>free zset group -> next time at which it may be free
--           <p>ready:<kind> zset group -> place in the order, of those that may be free now;  <p>spare:<kind> of those that may be for urgent tasks alone;  <p>reached their virtual time (turns.lua)
--           <p>policies, <p>routes: what may go where (policies.lua)
--           <p>groups-of:<account> set;  <p>leaving zset: removed ones whose queue is not empty yet -> when
--           <p>held hash <group>/<key> -> time until which a living worker holds that key
--           <p>held-seen hash: what snapshot.lua read of <p>held last (how many; until none of them can have lapsed; which, hashed)
--           <p>registrations how often groups were registered
-- Windows:  <p>window:<account>:<unit>:<kind>:<ms>[:<zone>], see window-*.lua;  <p>window:<account>:concurrent zset lease -> end
--           <p>lease:<id>#<epoch> hash: its stamps, see windows.lua;  <p>calendar hash zone -> starts of its days
-- Store:    <p>run the store's run that the windows belong to, where it may forget (run.lua)

local P = KEYS[1]
local BANDS = 5
local URGENT = 0.6 -- from this score on: the two upper bands

local now -- the store's time in ms, clock.lua
local windows_of -- a group's windows, windows.lua

local function k(name) return P .. name end
local function num(v) return tonumber(v or '0') or 0 end
local function ms(v) return string.format('%.3f', v) end

local function split(text, pattern)
  local parts = {}
  for part in string.gmatch(text or '', pattern) do parts[#parts + 1] = part end
  return parts
end
