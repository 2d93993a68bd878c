import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { coolDown, TOLERATED_SHARE } from "../../src/processors/cool-down.ts";
import { nextTry } from "../../src/processors/next-try.ts";
import { CAUSES, REFUSAL_CAUSES, type SortedRefusal } from "../../src/processors/refusal.ts";
import { type CoolingPolicy, DEFAULT_COOLING, DEFAULT_RETRY } from "../../src/queues/call-policy.ts";
import { restMs } from "../../src/queues/rest.ts";

const causes = fc.constantFrom(...REFUSAL_CAUSES);
const share = fc.double({ min: 0, max: 1, noNaN: true });
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const policies = fc
  .record({
    adaptive: fc.boolean(),
    minMs: fc.integer({ min: 1, max: 100_000 }),
    more: fc.integer({ min: 0, max: 300_000 }),
    fixedMs: fc.integer({ min: 1, max: 300_000 }),
  })
  .map(({ more, ...rest }): CoolingPolicy => ({ ...rest, maxMs: rest.minMs + more }));
const coolDownMs = (
  sorted: Pick<SortedRefusal, "cause" | "coolMs" | "told">,
  failureShare: number,
  policy: CoolingPolicy,
  chance: number,
) => restMs(coolDown(sorted, policy), failureShare, chance);
const untold = (cause: (typeof REFUSAL_CAUSES)[number]) => ({ cause, coolMs: CAUSES[cause].coolMs, told: false });

describe("how long a group rests", () => {
  test("never negative, never more than the policy and the cause allow", () => {
    fc.assert(
      fc.property(causes, share, policies, random, (cause, failureShare, policy, chance) => {
        const ms = coolDownMs(untold(cause), failureShare, policy, chance);
        const most = Math.max(policy.maxMs, policy.fixedMs * 1.2, CAUSES[cause].coolMs * 1.2);
        expect(ms).toBeGreaterThanOrEqual(0);
        // Rounded to whole ms.
        expect(ms).toBeLessThanOrEqual(most + 1);
        expect(Number.isInteger(ms)).toBe(true);
      }),
    );
  });

  test("a group in trouble, or in a full minute, rests within the bounds", () => {
    const inTrouble = fc.double({ min: TOLERATED_SHARE, minExcluded: true, max: 1, noNaN: true });
    const adaptive = policies.map((policy) => ({ ...policy, adaptive: true }));
    fc.assert(
      fc.property(
        fc.constantFrom("server", "timeout", "rate_minute", "tokens"),
        inTrouble,
        adaptive,
        random,
        (cause, failureShare, policy, chance) => {
          const ms = coolDownMs(untold(cause), failureShare, policy, chance);
          expect(ms).toBeGreaterThanOrEqual(policy.minMs);
          expect(ms).toBeLessThanOrEqual(policy.maxMs);
        },
      ),
    );
  });

  test("the more fails, the longer; never shorter", () => {
    fc.assert(
      fc.property(causes, share, share, policies, random, (cause, a, b, policy, chance) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)].map((s) => coolDownMs(untold(cause), s, policy, chance));
        expect(more).toBeGreaterThanOrEqual((less ?? 0) - 1e-6);
      }),
    );
  });

  test("what the provider said is believed exactly", () => {
    fc.assert(
      fc.property(
        causes,
        fc.nat(86_400_000),
        share,
        policies,
        random,
        (cause, coolMs, failureShare, policy, chance) => {
          expect(coolDownMs({ cause, coolMs, told: true }, failureShare, policy, chance)).toBe(coolMs);
        },
      ),
    );
  });

  test("whoever is innocent never rests; what is disabled is probed instead", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("content", "request", "key", "balance", "model", "day"),
        share,
        policies,
        random,
        (cause, s, policy, chance) => {
          expect(coolDownMs(untold(cause), s, policy, chance)).toBe(0);
        },
      ),
    );
  });

  test.each([
    ["a lone failure", "server", 0.1, 1_000, 1_200],
    ["just in trouble", "server", 0.21, 10_000, 15_000],
    ["half of it fails", "timeout", 0.5, 40_000, 60_000],
    ["all of it fails", "server", 1, 100_000, 120_000],
    ["nobody there", "network", 0, 1_000, 1_200],
    ["nobody there for long", "network", 1, 8_300, 10_000],
    ["a second's window now and then", "rate_second", 0.02, 150, 180],
    ["a second's window more often", "rate_second", 0.06, 1_000, 1_500],
    ["calls too close upon one another", "burst", 0, 2_000, 2_400],
    ["a second's window that is refused again and again", "rate_second", 1, 8_300, 10_000],
    ["a minute's window", "rate_minute", 0, 10_000, 12_000],
    ["a minute's window that is refused again and again", "tokens", 1, 50_000, 60_000],
  ] as const)("by default, %s", (_, cause, failureShare, least, most) => {
    const rests = [0, 0.5, 0.999].map((chance) => coolDownMs(untold(cause), failureShare, DEFAULT_COOLING, chance));
    for (const ms of rests) {
      expect(ms).toBeGreaterThanOrEqual(least);
      expect(ms).toBeLessThanOrEqual(most);
    }
    expect(new Set(rests).size).toBe(3);
  });

  test("a fixed cool-down is the file's", () => {
    const fixed = { ...DEFAULT_COOLING, adaptive: false };
    for (const s of [0, 1]) expect(coolDownMs(untold("server"), s, fixed, 0)).toBe(60_000);
    expect(coolDownMs(untold("rate_second"), 0, fixed, 0)).toBe(1_000);
  });
});

describe("the next try", () => {
  const anyTry = fc.record({
    failures: fc.integer({ min: 0, max: 12 }),
    leftMs: fc.oneof(fc.constant(null), fc.integer({ min: -5_000, max: 60_000 })),
    sameGroupMayDo: fc.boolean(),
  });
  const anyPolicy = fc.record({
    maxRetries: fc.integer({ min: 0, max: 10 }),
    baseMs: fc.integer({ min: 1, max: 10_000 }),
    capMs: fc.integer({ min: 1, max: 60_000 }),
  });

  test("at most as often as the policy says, never past the deadline, never beyond the cap", () => {
    fc.assert(
      fc.property(anyTry, anyPolicy, random, (failed, policy, chance) => {
        const next = nextTry(failed, policy, chance);
        if (next.kind === "exhausted") expect(failed.failures).toBeGreaterThan(policy.maxRetries);
        else expect(failed.failures).toBeLessThanOrEqual(policy.maxRetries);
        if (next.kind === "expired") expect(failed.leftMs).toBeLessThanOrEqual(0);
        if (next.kind !== "again") return;
        expect(next.avoidMs).toBeGreaterThanOrEqual(0);
        expect(next.avoidMs).toBeLessThanOrEqual(policy.capMs);
        if (failed.leftMs !== null) expect(next.avoidMs).toBeLessThanOrEqual(failed.leftMs);
        if (failed.sameGroupMayDo) expect(next.avoidMs).toBe(0);
      }),
    );
  });

  test("2, 4 seconds, a fifth more or less; then it is over", () => {
    const failed = { leftMs: null, sameGroupMayDo: false };
    for (const [failures, ms] of [
      [1, 2_000],
      [2, 4_000],
    ] as const) {
      expect(nextTry({ ...failed, failures }, DEFAULT_RETRY, 0)).toEqual({ kind: "again", avoidMs: 0.8 * ms });
      expect(nextTry({ ...failed, failures }, DEFAULT_RETRY, 0.5)).toEqual({ kind: "again", avoidMs: ms });
    }
    expect(nextTry({ ...failed, failures: 3 }, DEFAULT_RETRY, 0)).toEqual({ kind: "exhausted" });
  });
});
