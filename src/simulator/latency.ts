/** Seeded randomness and the time that an answer takes. */

export type Random = () => number;

/** 0 ≤ x < 1, the same series for the same seed. Mulberry32 (Tommy Ettinger, public domain). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal: Box and Muller 1958. */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** The 95th percentile of the standard normal distribution. */
const Z95 = 1.6448536269514722;

/**
 * The lognormal distribution with this mean m and 95th percentile q: exp(μ + σ²/2) = m and exp(μ + 1.645σ) = q give
 * σ²/2 − 1.645σ + ln(q/m) = 0, of which the smaller root is the narrow, one-humped one. Needs 1 ≤ q/m ≤ 3.86.
 */
export function lognormalOf({ meanMs, p95Ms }: { meanMs: number; p95Ms: number }): { mu: number; sigma: number } {
  const sigma = Z95 - Math.sqrt(Z95 ** 2 - 2 * Math.log(p95Ms / meanMs));
  return { mu: Math.log(meanMs) - sigma ** 2 / 2, sigma };
}

/** Draws times to wait, in ms; a mean of 0 is no wait at all. */
export function latencySampler(latency: { meanMs: number; p95Ms: number }, random: Random): () => number {
  if (latency.meanMs === 0) return () => 0;
  const { mu, sigma } = lognormalOf(latency);
  return () => Math.exp(mu + sigma * normal(random));
}
