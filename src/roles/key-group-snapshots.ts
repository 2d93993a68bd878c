/** Key groups as people see them, written to the store by the bridge: each as it stands, and the history of their states. */
import type { Redis } from "ioredis";
import type { KeyGroupEvent } from "../events.ts";
import { KEYS } from "../names.ts";
import { createKeyGroupHistory } from "../queues/key-group-history.ts";
import type { Quota } from "../queues/quota.ts";

/**
 * Every group is looked at and written again within a minute, should the store have lost what it was told: a part of them
 * every few rounds, since a look at a thousand holds the store up for 70 ms.
 */
const AGAIN = { everyRounds: 5, parts: 12 };
/** All at once, and what is no key group any more goes, should the store have brought one back. */
const WHOLE_ROUNDS = 600;
/** What fades in the windows of a group that does nothing is looked at every so many rounds. */
const FADING_ROUNDS = 10;

interface Look {
  groups: KeyGroupEvent[];
  /** These are all. */
  whole: boolean;
  atMs: number;
  /** As it was before the whole look: what changes meanwhile brings another one. */
  others: string;
}

/** Each call looks at the groups that may have changed and writes where they have: a thousand idle groups cost next to nothing. */
export function snapshotPublisher(quota: Quota, redis: Redis) {
  const known = new Map<string, { event: KeyGroupEvent; text: string }>();
  const history = createKeyGroupHistory(redis);
  let othersBefore = "";
  let rounds = 0;

  const events = () => [...known.values()].map(({ event }) => event);
  /** Those whose turn it is, the nth time. */
  const inTurn = (events: readonly KeyGroupEvent[], parts: number, nth: number) =>
    events.filter((_, i) => i % parts === nth % parts).map(({ id }) => id);

  async function look(again: ReadonlySet<string>): Promise<Look> {
    const changing = events()
      .filter(changesWithTime)
      .map(({ id }) => id);
    const fading = inTurn(events().filter(isFading), FADING_ROUNDS, rounds);
    const asked = [...new Set([...changing, ...fading, ...again])];
    const { groups, others, atMs } = await quota.look(asked);
    const here = new Set(groups.map(({ id }) => id));
    const whole = rounds % WHOLE_ROUNDS === 0 || others !== othersBefore || asked.some((id) => !here.has(id));
    return { whole, atMs, others, groups: whole ? await quota.snapshot() : groups };
  }

  return async () => {
    const nth = rounds / AGAIN.everyRounds;
    const again = new Set(Number.isInteger(nth) ? inTurn(events(), AGAIN.parts, nth) : []);
    const { groups, whole, atMs, others } = await look(again);
    const allAgain = rounds % WHOLE_ROUNDS === 0;
    const seen = groups.map((event) => ({ event, text: JSON.stringify(event) }));
    const isAgain = ({ id }: KeyGroupEvent) => allAgain || again.has(id);
    const changed = seen.filter(({ event, text }) => isAgain(event) || known.get(event.id)?.text !== text);
    const here = new Set(groups.map(({ id }) => id));
    const written = allAgain ? await redis.hkeys(KEYS.keyGroups) : [...known.keys()];
    const gone = whole ? written.filter((id) => !here.has(id)) : [];
    if (changed.length > 0) {
      await redis.hset(KEYS.keyGroups, Object.fromEntries(changed.map(({ event, text }) => [event.id, text])));
    }
    if (gone.length > 0) await redis.hdel(KEYS.keyGroups, ...gone);
    for (const id of gone) known.delete(id);
    for (const each of seen) known.set(each.event.id, each);
    history.forget(groups.filter(isAgain));
    await history.note(groups, atMs, whole);
    othersBefore = others;
    rounds += 1;
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
