/** The ideal that the quota engine's waits are measured against. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { idealWaits, noGuard } from "../../bench/quota/ideal.ts";

const perSecond = (limit: number) => ({ windows: [{ limit, windowMs: 1_000 }] });
const ascending = fc
  .array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 200 })
  .map((times) => times.toSorted((a, b) => a - b));

test("one group of two a second: the third waits for the first one's place, the fourth for the second's", () => {
  expect(idealWaits([0, 100, 200, 300, 1_200], [perSecond(2)], noGuard)).toEqual([0, 0, 800, 800, 800]);
});

test("the guard widens the window, from the moment at which it is learned", () => {
  expect(idealWaits([0, 10, 2_000, 2_010], [perSecond(1)], () => 25)).toEqual([0, 1_015, 50, 1_065]);
  const later = (_group: number, atMs: number) => (atMs < 1_000 ? 0 : 100);
  expect(idealWaits([0, 10, 1_500], [perSecond(1)], later)).toEqual([0, 990, 600]);
});

test("two groups are one pool, and each one's guard is its own", () => {
  expect(idealWaits([0, 0, 0, 0, 0], [perSecond(2), perSecond(2)], noGuard)).toEqual([0, 0, 0, 0, 1_000]);
  const guards = [200, 50];
  expect(idealWaits([0, 0, 0], [perSecond(1), perSecond(1)], (group) => guards[group] ?? 0)).toEqual([0, 0, 1_050]);
});

test("the narrowest window decides", () => {
  const group = {
    windows: [
      { limit: 2, windowMs: 1_000 },
      { limit: 3, windowMs: 10_000 },
    ],
  };
  expect(idealWaits([0, 0, 0, 0], [group], noGuard)).toEqual([0, 0, 1_000, 10_000]);
});

test("equal groups wait as a queue with so many servers of constant service does (Lindley's recursion)", () => {
  fc.assert(
    fc.property(
      ascending,
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 4 }),
      (arrivals, groups, limit) => {
        const servers = groups * limit;
        const starts: number[] = [];
        for (const dueMs of arrivals) {
          const freed = starts[starts.length - servers];
          starts.push(Math.max(dueMs, freed === undefined ? 0 : freed + 1_030));
        }
        const pool = Array.from({ length: groups }, () => perSecond(limit));
        const waits = idealWaits(arrivals, pool, () => 30);
        expect(waits.map((wait, i) => wait + (arrivals[i] ?? 0))).toEqual(starts);
      },
    ),
  );
});

test("no window ever holds more than its limit, and nobody waits while there is a place", () => {
  const groups = [
    perSecond(3),
    {
      windows: [
        { limit: 2, windowMs: 700 },
        { limit: 4, windowMs: 3_000 },
      ],
    },
  ];
  const most = groups.flatMap(({ windows }) => windows);
  fc.assert(
    fc.property(ascending, (arrivals) => {
      const starts = idealWaits(arrivals, groups, noGuard).map((wait, i) => wait + (arrivals[i] ?? 0));
      const inside = (atMs: number, windowMs: number) => starts.filter((s) => s <= atMs && s > atMs - windowMs).length;
      for (const [i, startMs] of starts.entries()) {
        expect(startMs).toBeGreaterThanOrEqual(starts[i - 1] ?? 0);
        expect(inside(startMs, 700)).toBeLessThanOrEqual(3 + 2);
        if (startMs > (arrivals[i] ?? 0)) {
          // Just before, every place was taken: three of the first group, and one of the second one's windows was full.
          const longest = Math.max(...most.map(({ windowMs }) => windowMs));
          expect(inside(startMs - 0.001, longest)).toBeGreaterThanOrEqual(Math.min(3 + 2, i));
        }
      }
    }),
  );
});
