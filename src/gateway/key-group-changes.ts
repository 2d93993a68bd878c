/** The history of key groups' states in memory: read on from where it was read last, and kept while the store is away. */
import type { Redis } from "ioredis";
import { KEPT_KEY_GROUP_CHANGES, KeyGroupChange } from "../events.ts";
import { KEYS } from "../names.ts";
import { fieldsOf } from "./recent-outcomes.ts";

export interface KeyGroupChanges {
  /** Reads what was noted since; all that are known, oldest first. The same array while nothing is new. */
  readOn(): Promise<readonly KeyGroupChange[]>;
}

export function createKeyGroupChanges(redis: Redis): KeyGroupChanges {
  let known: readonly KeyGroupChange[] = [];
  let place = "-";
  return {
    async readOn() {
      const entries = (await redis.xrange(KEYS.keyGroupChanges, place, "+")) as [string, string[]][];
      const last = entries.at(-1)?.[0];
      if (last === undefined) return known;
      place = `(${last}`;
      known = [...known, ...entries.flatMap(changeOf)].slice(-KEPT_KEY_GROUP_CHANGES);
      return known;
    },
  };
}

/** What cannot be read (of an older or newer version) is left out. */
function changeOf([id, fields]: [string, string[]]): KeyGroupChange[] {
  try {
    return [KeyGroupChange.parse({ ...JSON.parse(fieldsOf(fields).json ?? ""), id })];
  } catch {
    return [];
  }
}

/** Those of `now` that came after the last of `before`; both as readOn told them. */
export function newChanges(now: readonly KeyGroupChange[], before: readonly KeyGroupChange[]): KeyGroupChange[] {
  if (now === before) return [];
  const last = before.at(-1)?.id;
  return now.slice(now.findLastIndex(({ id }) => id === last) + 1);
}
