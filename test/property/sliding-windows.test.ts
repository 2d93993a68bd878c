import fc from "fast-check";
import { expect, test } from "vitest";
import { SlidingWindows, type WindowLimit } from "../../src/simulator/sliding-windows.ts";

const limits = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom("a", "b", "c"),
    limit: fc.integer({ min: 1, max: 6 }),
    windowMs: fc.integer({ min: 1, max: 60 }),
  }),
  { selector: ({ name }) => name, minLength: 1, maxLength: 3 },
);
/** Gaps between arrivals: mostly short, sometimes none, sometimes a whole window. */
const gaps = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 80 })), {
  maxLength: 200,
});

const inside = (stamps: readonly number[], { windowMs }: WindowLimit, atMs: number) =>
  stamps.filter((stamp) => stamp > atMs - windowMs && stamp <= atMs).length;

test("a call fits exactly when every window has a place, as counted by hand", () => {
  fc.assert(
    fc.property(limits, gaps, (windows, steps) => {
      const sliding = new SlidingWindows(windows);
      const counted: number[] = [];
      let atMs = 0;
      for (const step of steps) {
        atMs += step;
        const expected = windows.every((window) => inside(counted, window, atMs) < window.limit);
        const fit = sliding.fit(atMs);
        expect(fit.fits).toBe(expected);
        if (fit.fits) {
          sliding.count(atMs);
          counted.push(atMs);
        } else {
          // Told when to come back: not a moment earlier, and then there is a place.
          const { window, freeInMs } = fit;
          for (const every of windows) {
            expect(inside(counted, every, atMs + freeInMs)).toBeLessThan(every.limit);
          }
          expect(inside(counted, window, atMs + freeInMs - 1)).toBeGreaterThanOrEqual(window.limit);
        }
      }
      for (const window of windows) {
        // However the window is laid over the accepted calls, it holds no more than its limit.
        for (const stamp of counted) expect(inside(counted, window, stamp)).toBeLessThanOrEqual(window.limit);
      }
    }),
    { numRuns: 1_000 },
  );
});

test("counting without refusing reports the most that ever lay inside each window", () => {
  fc.assert(
    fc.property(limits, gaps, (windows, steps) => {
      const sliding = new SlidingWindows(windows);
      const counted: number[] = [];
      let atMs = 0;
      for (const step of steps) {
        atMs += step;
        counted.push(atMs);
        sliding.count(atMs);
      }
      const usage = sliding.usage(atMs);
      for (const window of windows) {
        expect(usage[window.name]).toEqual({
          limit: window.limit,
          windowMs: window.windowMs,
          used: inside(counted, window, atMs),
          most: Math.max(0, ...counted.map((stamp, i) => inside(counted.slice(0, i + 1), window, stamp))),
        });
      }
    }),
    { numRuns: 1_000 },
  );
});

test("forgetting old calls changes nothing: 30,000 calls, a long and a short window", () => {
  const windows = [
    { name: "short", limit: 5, windowMs: 10 },
    { name: "long", limit: 300, windowMs: 1_000 },
  ];
  const sliding = new SlidingWindows(windows);
  let accepted = 0;
  for (let atMs = 0; atMs < 30_000; atMs += 1) {
    if (!sliding.fit(atMs).fits) continue;
    sliding.count(atMs);
    accepted += 1;
  }
  // 300 in each full second, by the long window, of which none exceeds 5 in 10 ms.
  expect(accepted).toBe(9_000);
  expect(sliding.usage(29_999)).toMatchObject({ short: { most: 5 }, long: { most: 300 } });
});
