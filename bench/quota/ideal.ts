/**
 * What the best possible scheduler would make of the same arrivals: one that knows everything at once, at no cost. The
 * groups are one pool, the oldest task goes first, and its call begins at the first moment at which any group has a place
 * in all of its windows, each widened by that group's guard.
 *
 * Exact, and the optimum, where of each group's windows only one ever binds and all groups have the same: a place is then
 * taken for one window's length whoever takes it, as at a queue with so many servers of one constant time of service, and
 * there no order of the servers is better than another. (Five a second with 300 a minute is such a group: whoever keeps
 * the first window can never fill the second.)
 */
export interface IdealGroup {
  windows: readonly { limit: number; windowMs: number }[];
}

/** The guard of a group (by its index) at a moment of the plan, ms. */
export type GuardAt = (group: number, atMs: number) => number;

export const noGuard: GuardAt = () => 0;

/** How long each task waits for the start of its call, ms, in the order of the arrivals (ascending, ms). */
export function idealWaits(arrivalsMs: readonly number[], groups: readonly IdealGroup[], guardAt: GuardAt): number[] {
  const started: number[][] = groups.map(() => []);
  return arrivalsMs.map((dueMs) => {
    let [best, bestMs] = [0, Number.POSITIVE_INFINITY];
    for (const [i, group] of groups.entries()) {
      const freeMs = freeAt(started[i] ?? [], group, guardAt(i, dueMs));
      if (freeMs < bestMs) [best, bestMs] = [i, freeMs];
    }
    const startMs = Math.max(dueMs, bestMs);
    started[best]?.push(startMs);
    return startMs - dueMs;
  });
}

/** When the next call fits into every window: one window after the call that must have left it by then. */
function freeAt(started: readonly number[], { windows }: IdealGroup, guardMs: number): number {
  return Math.max(
    ...windows.map(
      ({ limit, windowMs }) => (started[started.length - limit] ?? Number.NEGATIVE_INFINITY) + windowMs + guardMs,
    ),
  );
}
