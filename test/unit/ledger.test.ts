import fc from "fast-check";
import { expect, test } from "vitest";
import { OUTCOMES } from "../../src/messages.ts";
import { Growth } from "../../src/supervisor/growth.ts";
import { Histogram } from "../../src/supervisor/histogram.ts";
import { Ledger } from "../../src/supervisor/ledger.ts";

test("a group without an outcome is lost until it has one", () => {
  const ledger = new Ledger();
  ledger.detected("m", [1, 2], 5_000);
  expect(ledger).toMatchObject({ groups: 2, lost: 2, lastDueMs: 5_000 });
  ledger.result("m_group1", 1, "assessed");
  expect(ledger).toMatchObject({ groups: 2, lost: 1 });
  expect(ledger.someOpen(5)).toEqual(["m_group2"]);
  ledger.result("m_group2", 1, "expired");
  expect(ledger).toMatchObject({ lost: 0, duplicates: 0, lastDueMs: undefined });
  expect(ledger.outcomes).toMatchObject({ assessed: 1, expired: 1 });
});

test("a second result of one revision is a duplicate; a revision by hand is none", () => {
  const ledger = new Ledger();
  ledger.detected("m", [1], 0);
  expect(ledger.result("m_group1", 1, "failed")).toBe(true);
  expect(ledger.result("m_group1", 2, "assessed")).toBe(true);
  expect(ledger.duplicates).toBe(0);
  expect(ledger.result("m_group1", 2, "assessed")).toBe(false);
  expect(ledger.result("m_group1", 1, "failed")).toBe(false);
  expect(ledger.duplicates).toBe(2);
  expect(ledger.outcomes.failed).toBe(1);
});

test("repeated indices are groups of their own; a detection appended twice counts once", () => {
  const ledger = new Ledger();
  ledger.detected("m", [1, 1], 0);
  ledger.detected("m", [1, 1], 0);
  expect(ledger.groups).toBe(2);
  ledger.result("m_group1", 1, "assessed");
  ledger.result("m_group1_2", 1, "assessed");
  expect(ledger.lost).toBe(0);
});

test("results of groups from before the audit count for nothing, and whatever the order of reading, the count is the same", () => {
  const outcome = fc.constantFrom(...OUTCOMES);
  const scene = fc.array(fc.record({ groups: fc.integer({ min: 0, max: 4 }), outcome }), { maxLength: 20 });
  fc.assert(
    fc.property(scene, fc.integer(), (messages, seed) => {
      const ledger = new Ledger();
      const steps: (() => unknown)[] = messages.flatMap(({ groups, outcome: ending }, m) => [
        () =>
          ledger.detected(
            `m${m}`,
            Array.from({ length: groups }, (_, i) => i + 1),
            0,
          ),
        ...Array.from({ length: groups }, (_, i) => () => ledger.result(`m${m}_group${i + 1}`, 1, ending)),
      ]);
      steps.push(() => ledger.result("before_group1", 1, "assessed"));
      const order = steps.map((step, i) => ({ step, at: Math.sin(seed + i * 7919) })).sort((a, b) => a.at - b.at);
      for (const { step } of order) step();
      const groups = messages.reduce((sum, message) => sum + message.groups, 0);
      expect(ledger).toMatchObject({ groups, lost: 0, duplicates: 0 });
      expect(Object.values(ledger.outcomes).reduce((a, b) => a + b, 0)).toBe(groups);
    }),
  );
});

test("percentiles are right to within a hundredth, whatever the values", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.01, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 300 }),
      (values) => {
        const histogram = new Histogram();
        for (const value of values) histogram.add(value);
        const sorted = values.toSorted((a, b) => a - b);
        for (const q of [0.5, 0.95, 0.99]) {
          const exact = sorted[Math.ceil(q * sorted.length) - 1] ?? Number.NaN;
          expect(Math.abs((histogram.quantile(q) ?? Number.NaN) - exact) / exact).toBeLessThan(0.0101);
        }
      },
    ),
  );
});

test("no value, no percentile; what is no number is left out", () => {
  const histogram = new Histogram();
  histogram.add(Number.NaN);
  expect(histogram.percentiles()).toEqual({ p50: null, p95: null, p99: null });
  histogram.add(0);
  expect(histogram.percentiles()).toEqual({ p50: 0, p95: 0, p99: 0 });
});

test("growth begins where the audit did, and goes on over a restart that begins anew", () => {
  const growth = new Growth();
  growth.seen("old", 100);
  growth.begin();
  growth.seen("old", 110);
  growth.seen("new", 5);
  growth.seen("old", 3);
  growth.seen("old", 4);
  expect(growth.total((name) => name === "old")).toBe(14);
  expect(growth.total(() => true)).toBe(19);
});
