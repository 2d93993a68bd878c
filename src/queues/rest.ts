/**
 * How long a key group rests after a refusal: by what share of its recent calls failed, whichever worker made them. Pure. The
 * store decides it by this same law (key-state.lua): this is what it is read and tested by.
 */
import type { Rest } from "./quota.ts";

/** Counts that fade with time. */
export interface FailureShare {
  failed: number;
  succeeded: number;
  /** When it was so; store's clock, ms. */
  atMs: number;
}

export const NO_CALLS: FailureShare = { failed: 0, succeeded: 0, atMs: 0 };

export const HALF_LIFE_MS = 30_000;
/** To begin with, so that one failure of one call is not "all of them". */
export const ASSUMED_SUCCESSES = 4;
/** Rests are longer by up to this share of them, by chance, so that not everybody comes back at once. */
export const JITTER = 0.2;

/** One more call has ended. */
export function noted({ failed, succeeded, atMs }: FailureShare, failure: boolean, nowMs: number): FailureShare {
  const left = 0.5 ** (Math.max(0, nowMs - atMs) / HALF_LIFE_MS);
  return {
    failed: failed * left + (failure ? 1 : 0),
    succeeded: succeeded * left + (failure ? 0 : 1),
    atMs: nowMs,
  };
}

/** 0 to below 1; 0 for a group of which nothing is known. */
export const shareOf = ({ failed, succeeded }: FailureShare) => failed / (failed + succeeded + ASSUMED_SUCCESSES);

/** Whole ms: Redis expires nothing after parts of one. `share`: of failures, 0 to 1. `random`: 0 to below 1. */
export function restMs(rest: Rest, share: number, random: number): number {
  if (rest.kind === "fixed") return varied(rest.ms, rest.varies ? Number.POSITIVE_INFINITY : rest.ms, random);
  const { calmMs, calmMostMs, tolerated, leastMs, mostMs } = rest;
  if (share <= tolerated) return varied(calmMs, calmMostMs, random);
  const top = Math.max(leastMs, mostMs);
  const stretch = (Math.max(leastMs, top / (1 + JITTER)) - leastMs) * ((share - tolerated) / (1 - tolerated));
  return varied(leastMs + stretch, top, random);
}

const varied = (ms: number, mostMs: number, random: number) => Math.min(mostMs, Math.round(ms * (1 + JITTER * random)));
