/**
 * Fan out: the best waiting tasks, each with a lease of a free key group, into the key groups' queues, as soon as there is
 * both. Any number of bridges may do this at once. What is taken but never reaches its queue goes back when its lease
 * lapses.
 */
import type { Context } from "../context.ts";
import { loop } from "../lifecycle.ts";
import type { AssessmentQueues } from "../queues/assessment-queue.ts";
import type { Quota } from "../queues/quota.ts";

export interface FanOutParts {
  quota: Quota;
  queues: AssessmentQueues;
  /** Resolves at the next signal that the waiting room has work again; also when `signal` aborts. */
  woken: (signal: AbortSignal) => Promise<unknown>;
}

/** Most tasks in one step: some ms of the store's time at most. */
const MOST = 32;
/** The safety tick, should a signal be lost. */
const TICK_MS = 1_000;
/** Nothing could be taken although a group seemed free (every task avoids it, or needs longer than it has): not a busy loop. */
const LEAST_WAIT_MS = 20;

export async function fanOut(
  { quota, queues, woken }: FanOutParts,
  context: Context,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log } = context;
  await loop(context, signal, "fan out", async () => {
    // Listen before asking: a task that comes in between is not slept over.
    const listening = new AbortController();
    const stop = AbortSignal.any([signal, listening.signal]);
    const wake = woken(stop);
    try {
      const { taken, waitMs } = await quota.take(MOST);
      if (taken.length > 0) {
        await queues.add(taken);
        quota
          .markQueued(taken)
          .catch((error: unknown) => log.debug({ err: error }, "could not be marked as queued; nothing depends on it"));
        if (taken.length === MOST) return;
      }
      const restMs = waitMs === null ? TICK_MS : Math.min(Math.max(waitMs, LEAST_WAIT_MS), TICK_MS);
      // While tasks wait for quota an arrival is told of only where a group may be free that those cannot use.
      await Promise.race([wake, clock.sleep(restMs, stop).catch(() => {})]);
    } finally {
      listening.abort();
    }
  });
}
