/** The whole in a few numbers, once a second: pure reckoning here, reading and writing in follow-totals.ts. */
import type { KeyGroupEvent, Totals } from "../events.ts";
import { OUTCOMES } from "../messages.ts";

export const MINUTE_MS = 60_000;
/** Short enough to show what happens now, long enough not to jump. */
const RATE_OVER_MS = 10_000;

/** An outcome of the last minute; moments in ms on the store's clock. */
export interface Ended {
  atMs: number;
  outcome: string;
}

/** A verdict of the last minute as shown. */
export interface Shown {
  atMs: number;
  endToEndMs: number;
}

export interface TotalsInput {
  nowMs: number;
  /** Outcomes by kind since the store began. */
  counts: Readonly<Record<string, number>>;
  ended: readonly Ended[];
  shown: readonly Shown[];
  waiting: number;
  inFlight: number;
  keyGroups: readonly KeyGroupEvent[];
}

export function reckonTotals(input: TotalsInput): Totals {
  const { nowMs, waiting, inFlight } = input;
  const outcomes = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, Math.max(0, input.counts[outcome] ?? 0)]));
  const ended = input.ended.filter(({ atMs }) => atMs > nowMs - MINUTE_MS);
  const judged = ended.filter(({ outcome }) => outcome === "assessed" || outcome === "reused");
  const recent = judged.filter(({ atMs }) => atMs > nowMs - RATE_OVER_MS).length;
  const endToEnd = input.shown.filter(({ atMs }) => atMs > nowMs - MINUTE_MS).map(({ endToEndMs }) => endToEndMs);
  endToEnd.sort((a, b) => a - b);
  return {
    groups: Object.values(outcomes).reduce((sum, count) => sum + count, 0) + waiting + inFlight,
    waiting,
    inFlight,
    outcomes,
    endToEndP50Ms: percentile(endToEnd, 0.5),
    endToEndP95Ms: percentile(endToEnd, 0.95),
    coverage: ended.length === 0 ? null : judged.length / ended.length,
    verdictsPerSecond: (recent * 1000) / RATE_OVER_MS,
    quotaUsed: quotaUsed(input.keyGroups),
  };
}

/** Nearest rank; `sorted` ascending. Null of nothing. */
export function percentile(sorted: readonly number[], share: number): number | null {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? null;
}

/**
 * All groups are one pool, so that a window counts over all of them: used ÷ limit of the windows of equal unit and length, of
 * the groups that may be called; the tightest is told. 0 without any.
 */
export function quotaUsed(keyGroups: readonly KeyGroupEvent[]): number {
  const pools = new Map<string, { used: number; limit: number }>();
  for (const { state, windows } of keyGroups) {
    if (state === "disabled" || state === "unmanned" || state === "removed") continue;
    for (const { unit, windowMs, used, limit } of windows) {
      const length = `${windowMs} ms of ${unit}`;
      const pool = pools.get(length) ?? { used: 0, limit: 0 };
      pools.set(length, { used: pool.used + used, limit: pool.limit + limit });
    }
  }
  return Math.min(1, Math.max(0, ...[...pools.values()].map(({ used, limit }) => (limit > 0 ? used / limit : 0))));
}
