/** How full a window ever was: at the store's stamps exactly, at the provider as far as delays on the way allow to tell. */

/**
 * What the provider sees is the stamps moved by delays, which on a loaded machine vary by more than the guard between two
 * bursts. Most that they may vary, ms.
 */
const DELAYS_VARY_MS = 100;

/** A window of the simulated provider in which not one call more than a second's may arrive, delays included. */
export const secondLessDelays = (requestsPerSecond: number) => ({
  name: "a second less delays",
  requests: requestsPerSecond,
  windowMs: 1_000 - DELAYS_VARY_MS,
});

/** Most stamps inside any half-open window of so many ms. `stamps` ascending. */
export function mostWithin(stamps: readonly number[], windowMs: number): number {
  let most = 0;
  for (let first = 0, last = 0; last < stamps.length; last++) {
    while ((stamps[last] ?? 0) - (stamps[first] ?? 0) >= windowMs) first++;
    most = Math.max(most, last - first + 1);
  }
  return most;
}
