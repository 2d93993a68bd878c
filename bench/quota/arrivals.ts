/** When tasks come, drawn beforehand: whoever is slow is not offered less (open loop). */
import { systemClock } from "../../src/context.ts";
import { seededRandom } from "../../src/simulator/latency.ts";

export interface ArrivalPlan {
  perSecond: number;
  seconds: number;
  seed: number;
}

/**
 * A Poisson process given how many come: so many moments drawn evenly over the time and sorted. Ascending, in ms since the
 * start. The same seed draws the same.
 */
export function drawArrivals({ perSecond, seconds, seed }: ArrivalPlan): number[] {
  const random = seededRandom(seed);
  return Array.from({ length: Math.round(perSecond * seconds) }, () => random() * seconds * 1_000).sort(
    (a, b) => a - b,
  );
}

export interface Offering {
  /** Wall clock of the plan's start, ms. */
  startedAtMs: number;
  /** How many were offered so far, and how late the latest of them was, ms. */
  offered(): { count: number; latestMs: number };
  /** Resolves when all were offered, or when it was told to end. */
  done: Promise<void>;
  end(): Promise<void>;
}

/** Calls `offer` with each arrival's number and the moment at which it was due (wall clock, ms), never waiting for it. */
export function offerOpenLoop(arrivalsMs: readonly number[], offer: (nth: number, dueMs: number) => void): Offering {
  const startedAtMs = Date.now();
  const from = performance.now() + (startedAtMs - Date.now());
  const ending = new AbortController();
  let [count, latestMs] = [0, 0];
  const done = (async () => {
    for (const [nth, afterMs] of arrivalsMs.entries()) {
      const waitMs = from + afterMs - performance.now();
      if (waitMs > 0) await systemClock.sleep(waitMs, ending.signal).catch(() => {});
      if (ending.signal.aborted) return;
      latestMs = Math.max(latestMs, performance.now() - from - afterMs);
      count += 1;
      offer(nth, startedAtMs + afterMs);
    }
  })();
  return {
    startedAtMs,
    offered: () => ({ count, latestMs }),
    done,
    async end() {
      ending.abort();
      await done;
    },
  };
}
