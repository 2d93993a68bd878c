/** Key groups as people see them, written to the store by the bridge: each as it stands, and the history of their states. */
import type { Redis } from "ioredis";
import { KEYS } from "../names.ts";
import { createKeyGroupHistory } from "../queues/key-group-history.ts";
import type { Quota } from "../queues/quota.ts";

/** Should the store have lost what it was told: all of it is written again every so many rounds. */
const ALL_AGAIN_ROUNDS = 10;

/** Each call takes a snapshot and writes where it has changed: idle groups cost nothing. */
export function snapshotPublisher(quota: Quota, redis: Redis, storeNowMs: () => Promise<number>) {
  const written = new Map<string, string>();
  const history = createKeyGroupHistory(redis);
  let rounds = 0;
  return async () => {
    if (rounds++ % ALL_AGAIN_ROUNDS === 0) {
      written.clear();
      history.forget();
    }
    const atMs = await storeNowMs();
    const events = await quota.snapshot();
    const now = new Map(events.map((event) => [event.id, JSON.stringify(event)]));
    const changed = [...now].filter(([id, text]) => written.get(id) !== text);
    const gone = [...written.keys()].filter((id) => !now.has(id));
    if (changed.length > 0) await redis.hset(KEYS.keyGroups, Object.fromEntries(changed));
    if (gone.length > 0) await redis.hdel(KEYS.keyGroups, ...gone);
    written.clear();
    for (const [id, text] of now) written.set(id, text);
    await history.note(events, atMs);
  };
}
