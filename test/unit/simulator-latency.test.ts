import { describe, expect, test } from "vitest";
import { latencySampler, lognormalOf, seededRandom } from "../../src/simulator/latency.ts";

describe("lognormal from mean and 95th percentile", () => {
  test("the parameters give back both", () => {
    for (const [meanMs, p95Ms] of [
      [1_000, 1_450],
      [800, 900],
      [100, 380],
      [500, 500],
    ] as const) {
      const { mu, sigma } = lognormalOf({ meanMs, p95Ms });
      expect(Math.exp(mu + sigma ** 2 / 2)).toBeCloseTo(meanMs, 6);
      expect(Math.exp(mu + 1.6448536269514722 * sigma)).toBeCloseTo(p95Ms, 6);
      expect(sigma).toBeGreaterThanOrEqual(0);
    }
  });

  test("the default: sigma 0.244, median 970 ms", () => {
    const { mu, sigma } = lognormalOf({ meanMs: 1_000, p95Ms: 1_450 });
    expect(sigma).toBeCloseTo(0.244, 3);
    expect(Math.exp(mu)).toBeCloseTo(970.7, 1);
  });

  test("what is drawn has that mean and those quantiles", () => {
    const draw = latencySampler({ meanMs: 1_000, p95Ms: 1_450 }, seededRandom(7));
    const drawn = Array.from({ length: 100_000 }, draw).sort((a, b) => a - b);
    const quantile = (share: number) => drawn[Math.floor(share * drawn.length)] ?? 0;
    expect(drawn.reduce((sum, ms) => sum + ms, 0) / drawn.length / 1_000).toBeCloseTo(1, 2);
    expect(quantile(0.95) / 1_450).toBeCloseTo(1, 2);
    expect(quantile(0.5) / 970.7).toBeCloseTo(1, 2);
    expect(drawn[0]).toBeGreaterThan(200);
  });

  test("a mean of 0 is no wait", () => {
    expect(latencySampler({ meanMs: 0, p95Ms: 0 }, seededRandom(1))()).toBe(0);
  });
});

test("the same seed gives the same series, another one another", () => {
  const series = (seed: number) => Array.from({ length: 20 }, seededRandom(seed));
  expect(series(3)).toEqual(series(3));
  expect(series(3)).not.toEqual(series(4));
  expect(series(3).every((x) => x >= 0 && x < 1)).toBe(true);
});
