/**
 * What share of each key group's recent calls failed, as this process saw it: counts that fade with a half-life of half a
 * minute, and a few successes assumed to begin with, so that one failure of one call is not "all of them".
 */
import type { Clock } from "../context.ts";

const HALF_LIFE_MS = 30_000;
const ASSUMED_SUCCESSES = 4;

interface Fading {
  failed: number;
  succeeded: number;
  atMs: number;
}

export interface FailureShares {
  note(keyGroup: string, failed: boolean): void;
  /** 0 to below 1; 0 for a group of which nothing is known. */
  of(keyGroup: string): number;
}

export function createFailureShares({ monotonicMs }: Pick<Clock, "monotonicMs">): FailureShares {
  const groups = new Map<string, Fading>();

  function faded(keyGroup: string): Fading {
    const nowMs = monotonicMs();
    const { failed, succeeded, atMs } = groups.get(keyGroup) ?? { failed: 0, succeeded: 0, atMs: nowMs };
    const left = 0.5 ** ((nowMs - atMs) / HALF_LIFE_MS);
    return { failed: failed * left, succeeded: succeeded * left, atMs: nowMs };
  }

  return {
    note(keyGroup, failed) {
      const seen = faded(keyGroup);
      if (failed) seen.failed += 1;
      else seen.succeeded += 1;
      groups.set(keyGroup, seen);
    },
    of(keyGroup) {
      const { failed, succeeded } = faded(keyGroup);
      return failed / (failed + succeeded + ASSUMED_SUCCESSES);
    },
  };
}
