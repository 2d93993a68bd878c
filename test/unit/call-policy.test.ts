import { describe, expect, test } from "vitest";
import { createFailureShares } from "../../src/processors/failure-share.ts";
import { DEFAULT_COOLING, DEFAULT_RETRY, readOlderPolicy } from "../../src/queues/call-policy.ts";

describe("older keys' files", () => {
  test.each<[string, unknown, object, object]>([
    ["say nothing", {}, DEFAULT_COOLING, DEFAULT_RETRY],
    ["are empty", undefined, DEFAULT_COOLING, DEFAULT_RETRY],
    [
      "name bounds",
      { cooling: { min_cooldown: 5, max_cooldown: 90 } },
      { adaptive: true, minMs: 5_000, maxMs: 90_000 },
      DEFAULT_RETRY,
    ],
    [
      "name one fixed time and the retries",
      { strategy: "round_robin", default_cooldown: 60.0, max_retry_per_key: 3 },
      { adaptive: false, fixedMs: 60_000 },
      { ...DEFAULT_RETRY, maxRetries: 3 },
    ],
    [
      "name both, under scheduler",
      { key_cooldown_seconds: 45, adaptive_cooldown: { enabled: true, min_cooldown: 10, max_cooldown: 120 } },
      { adaptive: true, fixedMs: 45_000, minMs: 10_000, maxMs: 120_000 },
      DEFAULT_RETRY,
    ],
    [
      "turn it off",
      { key_cooldown_seconds: 30, adaptive_cooldown: { enabled: false, min_cooldown: 10 } },
      { adaptive: false, fixedMs: 30_000 },
      DEFAULT_RETRY,
    ],
  ])("%s", (_, raw, cooling, retry) => {
    const { policy, faults } = readOlderPolicy(raw);
    expect(faults).toEqual([]);
    expect(policy.cooling).toMatchObject(cooling);
    expect(policy.retry).toEqual(retry);
  });

  test.each([
    [{ cooling: { min_cooldown: "soon" } }, "cooling.min_cooldown"],
    [{ default_cooldown: -1 }, "default_cooldown"],
    [{ cooling: { min_cooldown: 200, max_cooldown: 100 } }, "min_cooldown"],
    [{ cooling: { min_cooldown: 200 } }, "min_cooldown"],
  ])("what is wrong in %j is named", (raw, field) => {
    expect(readOlderPolicy(raw).faults[0]).toContain(field);
  });

  test("reading one changes no default", () => {
    readOlderPolicy({ max_retry_per_key: 9, default_cooldown: 1 });
    expect(DEFAULT_RETRY.maxRetries).toBe(2);
    expect(DEFAULT_COOLING.fixedMs).toBe(60_000);
  });
});

describe("the share of failures", () => {
  const scene = () => {
    let nowMs = 0;
    return { shares: createFailureShares({ monotonicMs: () => nowMs }), forward: (ms: number) => (nowMs += ms) };
  };

  test("one failure of one call is no trouble, the next ones are", () => {
    const { shares } = scene();
    expect(shares.of("a")).toBe(0);
    shares.note("a", true);
    expect(shares.of("a")).toBeLessThanOrEqual(0.2);
    for (let i = 0; i < 5; i += 1) shares.note("a", true);
    expect(shares.of("a")).toBe(0.6);
    expect(shares.of("b")).toBe(0);
  });

  test("fades by half in half a minute, and successes weigh against it", () => {
    const { shares, forward } = scene();
    for (let i = 0; i < 4; i += 1) shares.note("a", true);
    expect(shares.of("a")).toBe(0.5);
    forward(30_000);
    expect(shares.of("a")).toBeCloseTo(2 / 6);
    for (let i = 0; i < 14; i += 1) shares.note("a", false);
    expect(shares.of("a")).toBeCloseTo(2 / 20);
    forward(3_600_000);
    expect(shares.of("a")).toBeCloseTo(0);
  });
});
