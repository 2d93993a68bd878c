/**
 * The history of key groups and their keys: who came into another state, why, and until when. What a call changes is noted
 * with its end (settle.lua); what time, a worker or the keys' file changes by whoever takes the snapshots.
 */
import type { Redis } from "ioredis";
import { KEPT_KEY_GROUP_CHANGES, type KeyGroupEvent, type KeyState } from "../events.ts";
import { KEYS } from "../names.ts";
import { StoreScript } from "../store.ts";

const script = new StoreScript(new URL("./key-group-history.lua", import.meta.url), [
  new URL("./note-change.lua", import.meta.url),
]);

interface Seen {
  /** "group" or "group/key". */
  who: string;
  state: KeyState;
  /** "", the cause, or cause and reason (note-change.lua). */
  why: string;
  /** Left of it, ms; null: not known. */
  leftMs: number | null;
}

export interface KeyGroupHistory {
  /**
   * Notes what has changed since any process looked last; `atMs` is a moment, on the store's clock, at or before the
   * snapshot. `whole`: these are all groups, and any other has gone.
   */
  note(groups: readonly KeyGroupEvent[], atMs: number, whole: boolean): Promise<void>;
  /** The next `note` compares these with the store again, should it have lost what it was told. */
  forget(groups: readonly KeyGroupEvent[]): void;
}

export function createKeyGroupHistory(redis: Redis): KeyGroupHistory {
  const told = new Map<string, string>();
  let newest = "";
  const newestChange = async () => (await redis.xrevrange(KEYS.keyGroupChanges, "+", "-", "COUNT", 1))[0]?.[0] ?? "";
  return {
    async note(groups, atMs, whole) {
      const seen = groups.flatMap(statesOf);
      const texts = new Map(seen.map(({ who, state, why }) => [who, `${state} ${why}`]));
      // Noted by another meanwhile: the store may have another state than was told last.
      const noted = newest !== (await newestChange());
      const news = seen.filter(({ who }) => noted || told.get(who) !== texts.get(who));
      const gone = whole && [...told.keys()].some((who) => !texts.has(who));
      if (news.length === 0 && !gone) return;
      const args = (whole ? seen : news).flatMap(({ who, state, why, leftMs }) => [
        ...[who, state, why],
        leftMs === null ? "" : Math.round(atMs + leftMs),
      ]);
      await script.run(
        redis,
        [KEYS.keyGroupStates, KEYS.keyGroupChanges, KEYS.keyGroupChangeCounts],
        [Math.round(atMs), KEPT_KEY_GROUP_CHANGES, whole ? "all" : "some", ...args],
      );
      if (whole) told.clear();
      for (const [who, text] of texts) told.set(who, text);
      newest = await newestChange();
    },
    forget(groups) {
      for (const { who } of groups.flatMap(statesOf)) told.delete(who);
    },
  };
}

/** What lasts: a call that is under way is no change, and a key that nothing is wrong with follows its group silently. */
export function statesOf({ id, state, cause, reason, coolingLeftMs, disabledLeftMs, keys }: KeyGroupEvent): Seen[] {
  const left = { cooling: coolingLeftMs, disabled: disabledLeftMs };
  const group: Seen = {
    who: id,
    state: state === "in_use" ? "available" : state,
    why: whyOf(cause, reason),
    leftMs: state === "cooling" || state === "disabled" ? left[state] : null,
  };
  return [group, ...keys.map((key) => keyStateOf(id, key))];
}

const whyOf = (cause: string | null, reason: string | null) => [cause, reason].filter(Boolean).join(" ");

function keyStateOf(group: string, { id, state, cause, reason, cools, leftMs }: KeyGroupEvent["keys"][number]): Seen {
  const who = `${group}/${id}`;
  // Its own trouble, and not its group's.
  if (cools !== null && (state === "disabled" || state === "cooling"))
    return { who, state, why: whyOf(cause, reason), leftMs };
  return { who, state: "available", why: "", leftMs: null };
}
