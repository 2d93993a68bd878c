import { describe, expect, test } from "vitest";
import { DEFAULT_COOLING, DEFAULT_RETRY, readOlderPolicy } from "../../src/queues/call-policy.ts";
import { NO_CALLS, noted, shareOf } from "../../src/queues/rest.ts";

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
    [
      "name many retries and no rest",
      { max_retry_per_key: 100, default_cooldown: 0 },
      { adaptive: false, fixedMs: 0 },
      { ...DEFAULT_RETRY, maxRetries: 100 },
    ],
  ])("%s", (_, raw, cooling, retry) => {
    const { policy, faults, notices } = readOlderPolicy(raw);
    expect({ faults, notices }).toEqual({ faults: [], notices: [] });
    expect(policy.cooling).toMatchObject(cooling);
    expect(policy.retry).toEqual(retry);
  });

  test.each([
    [{ cooling: { min_cooldown: "soon" } }, ["cooling", "min_cooldown"]],
    [{ default_cooldown: -1 }, ["default_cooldown"]],
    [{ cooling: { min_cooldown: 200, max_cooldown: 100 } }, ["cooling", "min_cooldown"]],
    [
      { cooling: { max_cooldown: 100 }, adaptive_cooldown: { min_cooldown: 200 } },
      ["adaptive_cooldown", "min_cooldown"],
    ],
  ])("what is wrong in %j is named", (raw, place) => {
    expect(readOlderPolicy(raw).faults).toMatchObject([{ place }]);
  });

  test.each([
    [{ cooling: { min_cooldown: 200 } }, 200_000, /min_cooldown is longer .* 120 s: both are 200 s/],
    [{ adaptive_cooldown: { max_cooldown: 5 } }, 5_000, /max_cooldown is shorter .* 10 s: both are 5 s/],
  ])("one bound alone, %j, moves the other's default, and that is said", (raw, ms, notice) => {
    const { policy, faults, notices } = readOlderPolicy(raw);
    expect(policy.cooling).toMatchObject({ minMs: ms, maxMs: ms });
    expect(faults).toEqual([]);
    expect(notices).toEqual([expect.stringMatching(notice)]);
  });

  test("reading one changes no default", () => {
    readOlderPolicy({ max_retry_per_key: 9, default_cooldown: 1 });
    expect(DEFAULT_RETRY.maxRetries).toBe(2);
    expect(DEFAULT_COOLING.fixedMs).toBe(60_000);
  });
});

describe("the share of failures", () => {
  test("one failure of one call is no trouble, the next ones are", () => {
    expect(shareOf(NO_CALLS)).toBe(0);
    let share = noted(NO_CALLS, true, 0);
    expect(shareOf(share)).toBeLessThanOrEqual(0.2);
    for (let i = 0; i < 5; i += 1) share = noted(share, true, 0);
    expect(shareOf(share)).toBe(0.6);
  });

  test("fades by half in half a minute, and successes weigh against it", () => {
    let share = NO_CALLS;
    for (let i = 0; i < 4; i += 1) share = noted(share, true, 0);
    expect(shareOf(share)).toBe(0.5);
    share = noted(share, false, 30_000);
    expect(shareOf(share)).toBeCloseTo(2 / 7);
    for (let i = 0; i < 13; i += 1) share = noted(share, false, 30_000);
    expect(shareOf(share)).toBeCloseTo(2 / 20);
    expect(shareOf(noted(share, false, 3_600_000))).toBeCloseTo(0);
  });
});
