/** Key groups as people see them, written to the store by the bridge: each as it stands, and the history of their states. */
import type { Redis } from "ioredis";
import type { KeyGroupEvent } from "../events.ts";
import { KEYS } from "../names.ts";
import { createKeyGroupHistory } from "../queues/key-group-history.ts";
import type { Quota } from "../queues/quota.ts";

/** Every group is looked at and written again every so many rounds, should the store have lost what it was told. */
const ALL_AGAIN_ROUNDS = 60;
/** What fades in the windows of a group that does nothing is looked at every so many rounds. */
const FADING_ROUNDS = 10;

/** Each call looks at the groups that may have changed and writes where they have: a thousand idle groups cost next to nothing. */
export function snapshotPublisher(quota: Quota, redis: Redis, storeNowMs: () => Promise<number>) {
  const known = new Map<string, { event: KeyGroupEvent; text: string }>();
  const history = createKeyGroupHistory(redis);
  let othersBefore = "";
  let rounds = 0;

  const idsToLookAt = () => {
    const events = [...known.values()].map(({ event }) => event);
    const fading = events.filter(isFading).filter((_, i) => i % FADING_ROUNDS === rounds % FADING_ROUNDS);
    return [...events.filter(changesWithTime), ...fading].map(({ id }) => id);
  };

  async function look(again: boolean): Promise<{ groups: KeyGroupEvent[]; whole: boolean }> {
    const asked = again ? [] : idsToLookAt();
    const { groups, others } = await quota.look(asked);
    const here = new Set(groups.map(({ id }) => id));
    // Noted before the whole look: what changes meanwhile brings another one.
    const whole = again || others !== othersBefore || asked.some((id) => !here.has(id));
    othersBefore = others;
    return { whole, groups: whole ? await quota.snapshot() : groups };
  }

  return async () => {
    const again = rounds++ % ALL_AGAIN_ROUNDS === 0;
    const atMs = await storeNowMs();
    const { groups, whole } = await look(again);
    const seen = groups.map((event) => ({ event, text: JSON.stringify(event) }));
    const changed = seen.filter(({ event, text }) => again || known.get(event.id)?.text !== text);
    const here = new Set(groups.map(({ id }) => id));
    const gone = whole ? [...known.keys()].filter((id) => !here.has(id)) : [];
    if (changed.length > 0) {
      await redis.hset(KEYS.keyGroups, Object.fromEntries(changed.map(({ event, text }) => [event.id, text])));
    }
    if (gone.length > 0) await redis.hdel(KEYS.keyGroups, ...gone);
    for (const id of gone) known.delete(id);
    for (const each of seen) known.set(each.event.id, each);
    if (again) history.forget();
    await history.note(groups, atMs, whole);
  };
}

/** Without any call, second by second. */
const changesWithTime = ({ state, inFlight, waitsFor, coolingLeftMs, keys }: KeyGroupEvent): boolean =>
  state === "removed" ||
  inFlight > 0 ||
  waitsFor !== null ||
  coolingLeftMs > 0 ||
  keys.some(({ leftMs }) => leftMs > 0);

/** Without any call of its own, now and then; a window whose name begins with @ is shared by all. */
const isFading = (group: KeyGroupEvent): boolean =>
  !changesWithTime(group) && group.windows.some(({ name, used }) => used > 0 || name.startsWith("@"));
