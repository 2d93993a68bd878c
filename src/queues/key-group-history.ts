/**
 * The history of key groups and their keys: who came into another state, why, and until when. Written by whoever takes the
 * snapshots; a state that lasts shorter than the time between two of them may go unseen.
 */
import type { Redis } from "ioredis";
import { KEPT_KEY_GROUP_CHANGES, type KeyGroupEvent, type KeyState } from "../events.ts";
import { KEYS } from "../names.ts";
import { StoreScript } from "../store.ts";

const script = new StoreScript(new URL("./key-group-history.lua", import.meta.url));

interface Seen {
  /** "group" or "group/key". */
  who: string;
  state: KeyState;
  cause: string;
  /** Left of it, ms; null: not known. */
  leftMs: number | null;
}

export interface KeyGroupHistory {
  /**
   * Notes what has changed since any process looked last; `atMs` is a moment, on the store's clock, at or before the
   * snapshot. `whole`: these are all groups, and any other has gone.
   */
  note(groups: readonly KeyGroupEvent[], atMs: number, whole: boolean): Promise<void>;
  /** The next `note` compares with the store again, should it have lost what it was told. */
  forget(): void;
}

export function createKeyGroupHistory(redis: Redis): KeyGroupHistory {
  const told = new Map<string, string>();
  return {
    async note(groups, atMs, whole) {
      const seen = groups.flatMap(statesOf);
      const texts = new Map(seen.map(({ who, state, cause }) => [who, `${state} ${cause}`]));
      const news = seen.filter(({ who }) => told.get(who) !== texts.get(who));
      const gone = whole && [...told.keys()].some((who) => !texts.has(who));
      if (news.length === 0 && !gone) return;
      const args = (whole ? seen : news).flatMap(({ who, state, cause, leftMs }) => [
        ...[who, state, cause],
        leftMs === null ? "" : Math.round(atMs + leftMs),
      ]);
      await script.run(
        redis,
        [KEYS.keyGroupStates, KEYS.keyGroupChanges, KEYS.keyGroupChangeCounts],
        [Math.round(atMs), KEPT_KEY_GROUP_CHANGES, whole ? "all" : "some", ...args],
      );
      if (whole) told.clear();
      for (const [who, text] of texts) told.set(who, text);
    },
    forget() {
      told.clear();
    },
  };
}

/** What lasts: a call that is under way is no change, and a key that nothing is wrong with follows its group silently. */
export function statesOf({ id, state, cause, coolingLeftMs, keys }: KeyGroupEvent): Seen[] {
  const returns = keys.filter((key) => key.state === "disabled" && key.leftMs > 0).map((key) => key.leftMs);
  const left = { cooling: coolingLeftMs, disabled: returns.length > 0 ? Math.min(...returns) : null };
  const group: Seen = {
    who: id,
    state: state === "in_use" ? "available" : state,
    cause: cause ?? "",
    leftMs: state === "cooling" || state === "disabled" ? left[state] : null,
  };
  return [group, ...keys.map((key) => keyStateOf(id, key))];
}

function keyStateOf(group: string, { id, state, cause, leftMs }: KeyGroupEvent["keys"][number]): Seen {
  const who = `${group}/${id}`;
  if (state === "disabled" && leftMs > 0) return { who, state, cause: cause ?? "", leftMs };
  return { who, state: "available", cause: "", leftMs: null };
}
