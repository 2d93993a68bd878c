/**
 * What to do for the windows about a store that came back without its newest writes: it has forgotten calls that the
 * providers have not. run.lua closes the key groups for a while; in that time the workers put back what they spent.
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import { PREFIX, script } from "./lua-scripts.ts";
import { settleScript } from "./redis-quota.ts";
import type { SpentLately } from "./spent-lately.ts";

const bindRunScript = script("bind-run", "run");
const putBackScript = script("put-back", "run");

/** Calls in one step: some ms of the store's time. */
const CHUNK = 250;
const ARGUMENTS_A_CALL = 6;

/**
 * By the bridge, before it registers the key groups. `mayForget`: a store that does not sync each write. `changed`: it knew
 * another run of the store before.
 */
export async function bindToRun(redis: Redis, mayForget: boolean, changed: boolean): Promise<void> {
  await bindRunScript.run(redis, [PREFIX], [Number(mayForget), Number(changed)]);
}

/**
 * By a worker, when the store is in another run: its calls into the windows, and its verdicts to the tasks that have lost
 * theirs, so that nobody asks for them again. Rejects while the store does not know a key group yet: do it again.
 */
export async function putBack(redis: Redis, spent: SpentLately, nowMs: number): Promise<void> {
  const calls = spent.toArguments(nowMs);
  let unknown = 0;
  for (let i = 0; i < calls.length; i += CHUNK * ARGUMENTS_A_CALL) {
    const some = calls.slice(i, i + CHUNK * ARGUMENTS_A_CALL);
    unknown += z.number().parse(await putBackScript.run(redis, [PREFIX], some));
  }
  for (const { taskId, settle } of spent.verdicts()) {
    const state = await redis.hget(`${PREFIX}task:${taskId}`, "s");
    // Unknown: its message is published again, and it is judged anew.
    if (state !== null && state !== "done") await settleScript.run(redis, [PREFIX], settle);
  }
  if (unknown > 0) throw new Error(`${unknown} calls could not be put back: their key groups are not registered yet`);
}
