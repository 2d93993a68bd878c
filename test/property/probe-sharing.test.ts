/**
 * The probe against providers of every make, in no time: a clock that only sleep moves on, and windows as the simulator
 * counts them. Whatever the accounts, whatever the file says of their windows: what it says to be proven is so, and it
 * never calls more often than it said. VIGILANE_LONG=1: many more cases.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/context.ts";
import { type ProbeAnswer, type ProbedKey, planProbe } from "../../src/processors/probe-plan.ts";
import { probeSharing, type Sharing } from "../../src/processors/probe-sharing.ts";
import { seededRandom } from "../../src/simulator/latency.ts";
import { SlidingWindows } from "../../src/simulator/sliding-windows.ts";

const LONG = process.env.VIGILANE_LONG === "1";

interface Case {
  /** The account of each key. */
  accounts: number[];
  limit: number;
  /** What the file says of it. */
  saidLimit: number;
  /** Share of calls refused by chance. */
  noise: number;
  /** Share of calls that fail. */
  failing: number;
  seed: number;
}

async function probe({ accounts, limit, saidLimit, noise, failing, seed }: Case) {
  const random = seededRandom(seed);
  let nowMs = 0;
  let calls = 0;
  const clock: Clock = {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    sleep: async (ms) => {
      nowMs += Math.max(0, ms);
    },
  };
  const windows = new Map(
    [...new Set(accounts)].map((id) => [id, new SlidingWindows([{ name: "w", limit, windowMs: 1_000 }])]),
  );
  const answer = (account: number): ProbeAnswer => {
    calls += 1;
    nowMs += random(); // calls reach it one after the other
    if (random() < noise) return { kind: "full", restMs: 0 };
    const window = windows.get(account);
    if (!window?.fit(nowMs).fits) return { kind: "full", restMs: 0 };
    window.count(nowMs);
    return random() < failing ? { kind: "unclear", why: "503" } : { kind: "granted" };
  };
  const keys = accounts.map(
    (account, i): ProbedKey => ({
      ...{ name: `${i}`, window: { limit: saidLimit, windowMs: 1_000 } },
      ask: async () => answer(account),
    }),
  );
  const plan = planProbe(keys);
  let fillings = 0;
  const sharing = await probeSharing(keys, plan, { clock }, () => {
    fillings += 1;
  });
  return { sharing, plan, calls, fillings };
}

/** Pairs that are told to share, and pairs that are told not to. */
function pairsOf({ quotas }: Sharing) {
  const shared = quotas.flatMap((keys) => keys.flatMap((a, i) => keys.slice(i + 1).map((b) => [a, b] as const)));
  const separate = quotas.flatMap((keys, i) =>
    quotas.slice(i + 1).flatMap((others) => keys.flatMap((a) => others.map((b) => [a, b] as const))),
  );
  return { shared, separate };
}

const anyCase = (over: { noise?: number; wrongFile?: boolean; failing?: number } = {}) =>
  fc
    .record({
      accounts: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 2, maxLength: 10 }),
      limit: fc.integer({ min: 1, max: 12 }),
      saidLimit: fc.integer({ min: 1, max: 12 }),
      seed: fc.integer({ min: 1, max: 1_000_000 }),
    })
    .map(
      (one): Case => ({
        ...one,
        saidLimit: over.wrongFile ? one.saidLimit : one.limit,
        noise: over.noise ?? 0,
        failing: over.failing ?? 0,
      }),
    );

async function holds(one: Case): Promise<Sharing> {
  const { sharing, plan, calls } = await probe(one);
  const same = ([a, b]: readonly [string, string]) => one.accounts[Number(a)] === one.accounts[Number(b)];
  const { shared, separate } = pairsOf(sharing);
  expect(shared.filter((pair) => !same(pair))).toEqual([]);
  expect(separate.filter(same)).toEqual([]);
  expect(calls).toBe(sharing.calls);
  expect(calls).toBeLessThanOrEqual(plan.most);
  const named = [...sharing.quotas.flat(), ...sharing.notKnown.map(({ name }) => name)];
  expect(named.toSorted()).toEqual(one.accounts.map((_, i) => `${i}`).toSorted());
  return sharing;
}

test("a provider that refuses for full windows alone, as the file says them: every key's place is found", async () => {
  await fc.assert(
    fc.asyncProperty(anyCase(), async (one) => {
      expect((await holds(one)).notKnown).toEqual([]);
    }),
    { numRuns: LONG ? 3_000 : 300 },
  );
});

test("ten keys do not need three fillings for each of their 45 pairs", async () => {
  const ten = { limit: 5, saidLimit: 5, noise: 0, failing: 0, seed: 1 };
  const own = await probe({ ...ten, accounts: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] });
  expect(own).toMatchObject({ fillings: 27, sharing: { notKnown: [] } });
  expect(own.calls).toBeLessThanOrEqual(own.plan.usual + 27);
  const one = await probe({ ...ten, accounts: new Array<number>(10).fill(0) });
  expect(one).toMatchObject({ fillings: 3, sharing: { quotas: [{ length: 10 }] } });
  const two = await probe({ ...ten, accounts: [0, 1, 0, 1, 0, 1, 0, 1, 0, 1] });
  expect(two.fillings).toBeLessThan(27);
});

test("windows wider or narrower than the file says: nothing false is said", async () => {
  await fc.assert(
    fc.asyncProperty(anyCase({ wrongFile: true }), async (one) => void (await holds(one))),
    { numRuns: LONG ? 3_000 : 300 },
  );
});

test("calls that fail: nothing false is said", async () => {
  await fc.assert(
    fc.asyncProperty(anyCase({ failing: 0.2, wrongFile: true }), async (one) => void (await holds(one))),
    { numRuns: LONG ? 3_000 : 300 },
  );
});

describe("a provider that refuses by chance as well", () => {
  test.each([0.02, 0.1, 0.3, 0.5, 0.7])(
    "%d of all calls: hardly ever one quota of two accounts, or two of one",
    async (noise) => {
      const runs = LONG ? 20_000 : 1_000;
      let falselyShared = 0;
      let falselySeparate = 0;
      for (let seed = 1; seed <= runs; seed += 1) {
        const { sharing, plan, calls } = await probe({
          accounts: [0, 1],
          limit: 5,
          saidLimit: 5,
          noise,
          failing: 0,
          seed,
        });
        if (pairsOf(sharing).shared.length > 0) falselyShared += 1;
        expect(calls).toBeLessThanOrEqual(plan.most);
        const one = await probe({ accounts: [0, 0], limit: 5, saidLimit: 5, noise, failing: 0, seed });
        if (pairsOf(one.sharing).separate.length > 0) falselySeparate += 1;
      }
      // One in 1,600 where every other call is refused by chance, far fewer otherwise; three times that.
      expect(falselyShared / runs).toBeLessThanOrEqual(3 / 1_600);
      // Here the controls too must all be refused by chance, again and again.
      expect(falselySeparate).toBeLessThanOrEqual(1);
    },
  );
});
