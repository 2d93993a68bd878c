import { expect, test } from "vitest";
import type { KeyGroupEvent } from "../../src/events.ts";
import { percentile, quotaUsed, reckonTotals, type TotalsInput } from "../../src/results/totals.ts";

const NOW = 1_000_000;
const input = (over: Partial<TotalsInput>): TotalsInput => ({
  nowMs: NOW,
  counts: {},
  ended: [],
  shown: [],
  waiting: 0,
  inFlight: 0,
  keyGroups: [],
  ...over,
});

test("groups are what has ended, waits or is under way; duplicates are none", () => {
  const counts = { assessed: 7, failed: 1, duplicates: 3 };
  const totals = reckonTotals(input({ counts, waiting: 2, inFlight: 4 }));
  expect(totals.groups).toBe(14);
  expect(totals.outcomes).toEqual({ assessed: 7, reused: 0, failed: 1, expired: 0, superseded: 0 });
});

test("coverage and latency look at the last minute only, the rate at the last ten seconds", () => {
  const ended = [
    { atMs: NOW - 60_000, outcome: "expired" },
    { atMs: NOW - 59_000, outcome: "expired" },
    { atMs: NOW - 5_000, outcome: "assessed" },
    { atMs: NOW - 1_000, outcome: "reused" },
    { atMs: NOW - 1_000, outcome: "superseded" },
  ];
  const shown = [
    { atMs: NOW - 60_001, endToEndMs: 99_999 },
    ...[1_000, 3_000, 2_000].map((endToEndMs) => ({ atMs: NOW - 500, endToEndMs })),
  ];
  expect(reckonTotals(input({ ended, shown }))).toMatchObject({
    coverage: 0.5,
    verdictsPerSecond: 0.2,
    endToEndP50Ms: 2_000,
    endToEndP95Ms: 3_000,
  });
});

test("without anything there is no coverage and no latency, rather than a good one", () => {
  expect(reckonTotals(input({}))).toMatchObject({ coverage: null, endToEndP50Ms: null, endToEndP95Ms: null });
});

test("percentiles by nearest rank", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  expect([0.5, 0.95, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([50, 95, 99, 100]);
  expect(percentile([7], 0.95)).toBe(7);
});

test("quota is one pool over the groups that may be called; the tightest window is told", () => {
  const group = (state: KeyGroupEvent["state"], perSecond: number, perMinute: number) =>
    ({
      state,
      windows: [
        { name: "requestsPerSecond", limit: 5, windowMs: 1_000, used: perSecond },
        { name: "requestsPerMinute", limit: 100, windowMs: 60_000, used: perMinute },
      ],
    }) as KeyGroupEvent;
  expect(quotaUsed([group("in_use", 5, 10), group("available", 0, 30)])).toBe(0.5);
  expect(quotaUsed([group("in_use", 1, 90), group("disabled", 0, 0)])).toBe(0.9);
  const tokens = { name: "tokensPerMinute", limit: 1_000, windowMs: 60_000, unit: "tokens", used: 700 };
  expect(quotaUsed([group("in_use", 0, 10), { state: "in_use", windows: [tokens] } as unknown as KeyGroupEvent])).toBe(
    0.7,
  );
  expect(quotaUsed([])).toBe(0);
});
