/**
 * The probe that tells whether keys share a quota, against the simulated provider, whose accounts are known: it must say what
 * is, or that it does not know, and never spend more than it said. (test/property has many more cases, in no time.)
 */
import { pino } from "pino";
import { describe, expect, type onTestFinished, test } from "vitest";
import { type Context, systemClock } from "../../src/context.ts";
import { probeCall } from "../../src/processors/check-key.ts";
import { type ProbedKey, planProbe } from "../../src/processors/probe-plan.ts";
import { probeSharing } from "../../src/processors/probe-sharing.ts";
import { createVisionClient } from "../../src/processors/vision-client.ts";
import { SimulatorConfig } from "../../src/simulator/simulator-config.ts";
import { startVisionProvider } from "../../src/simulator/vision-provider.ts";

const context: Context = { clock: systemClock, log: pino({ level: "silent" }) };
const LONG = process.env.VIGILANE_LONG === "1";
const WINDOW = { limit: 3, windowMs: 300 };

interface Scene {
  /** The keys of each account. */
  accounts: string[][];
  faults?: object;
  more?: object;
  window?: ProbedKey["window"];
  /** What the keys' file says of the windows, where that is wrong. */
  said?: ProbedKey["window"];
}

type Ended = typeof onTestFinished;

async function world(ended: Ended, { accounts, faults = {}, more = {}, window: own = WINDOW, said = own }: Scene) {
  const config = SimulatorConfig.parse({
    latency: { meanMs: 15, p95Ms: 30 },
    accounts: accounts.map((keys, i) => ({
      id: `account-${i}`,
      keys,
      windows: { others: [{ name: "short", requests: own.limit, windowMs: own.windowMs }] },
      faults,
    })),
    ...more,
  });
  const provider = await startVisionProvider({ config }, context);
  const options = { baseUrl: provider.url, model: "m", provider: "dashscope", timeoutMs: 5_000, maxTokens: 16 };
  // In an order that is not that of the accounts.
  const names = accounts.flat().toSorted();
  const keys = names.map((name): ProbedKey => {
    const client = createVisionClient({ ...options, secret: name }, context);
    ended(() => client.close());
    return { name, window: said, ask: (onSent) => probeCall(client, onSent) };
  });
  ended(() => provider.stop());
  const counted = () => provider.stats().accounts.reduce((sum, { calls }) => sum + calls, 0);
  return { keys, plan: planProbe(keys), counted, provider };
}

const sorted = (quotas: string[][]) => quotas.map((keys) => keys.toSorted()).toSorted();

test("keys of one account are told shared, those of their own separate, in any order; and no more is spent than was said", async ({
  expect,
  onTestFinished,
}) => {
  const accounts = LONG ? [["a", "d"], ["b", "c"], ["e"]] : [["a", "c"], ["b"]];
  const { keys, plan, counted } = await world(onTestFinished, { accounts, window: { limit: 6, windowMs: 500 } });
  const said: string[] = [];
  const sharing = await probeSharing(keys, plan, context, (line) => said.push(line));
  expect(sharing, said.join("\n")).toMatchObject({ notKnown: [] });
  expect(sorted(sharing.quotas)).toEqual(accounts);
  expect(counted()).toBe(sharing.calls);
  expect(sharing.calls).toBeLessThanOrEqual(plan.most);
});

(LONG ? test : () => {})(
  "keys that fill one another's window, asked together, are not taken for those that share the filling key's",
  async ({ expect, onTestFinished }) => {
    const { keys, plan, counted } = await world(onTestFinished, { accounts: [["a"], ["b", "c", "e"]] });
    const { quotas, notKnown, calls } = await probeSharing(keys, plan, context);
    expect(sorted(quotas)).toEqual([["a"], ["b", "c", "e"]]);
    expect(notKnown).toEqual([]);
    expect(counted()).toBe(calls);
    expect(calls).toBeLessThanOrEqual(plan.most);
  },
);

test("what it will spend is reckoned from the windows; a bound may be set", () => {
  const keys = [4, 3, 2].map((limit) => ({ window: { limit, windowMs: 1_000 } }));
  expect(planProbe(keys)).toEqual({
    usual: 3 * (5 + 6 + 4) + 3 * (4 + 6 + 2),
    refused: 3 * 2 * 7,
    most: 2 * (3 * 15 + 3 * 12),
    seconds: expect.any(Number),
  });
  expect(planProbe(keys, 20).most).toBe(20);
});

describe("no false proof", () => {
  const rates = LONG ? [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9] : [0.2, 0.5];
  test.concurrent.for(rates)(
    "a provider that refuses %d of all calls at random",
    async (rateRefusalRate, { expect, onTestFinished }) => {
      const { keys, plan, counted } = await world(onTestFinished, {
        accounts: [["a"], ["b"], ["c"]],
        faults: { rateRefusalRate },
      });
      const { quotas, notKnown } = await probeSharing(keys, plan, context);
      expect(quotas.filter((together) => together.length > 1)).toEqual([]);
      expect([...quotas.flat(), ...notKnown.map(({ name }) => name)].toSorted()).toEqual(["a", "b", "c"]);
      expect(counted()).toBeLessThanOrEqual(plan.most);
    },
  );

  test.concurrent("a provider that refuses at random is not said to give two keys of one account two quotas", async ({
    expect,
    onTestFinished,
  }) => {
    const { keys, plan } = await world(onTestFinished, { accounts: [["a", "b"]], faults: { rateRefusalRate: 0.3 } });
    const { quotas } = await probeSharing(keys, plan, context);
    expect(quotas).not.toContainEqual(["b"]);
  });

  test.concurrent("a provider that fails: not known, and why", async ({ expect, onTestFinished }) => {
    const { keys, plan, counted } = await world(onTestFinished, {
      accounts: [["a", "b"]],
      faults: { serverErrorRate: 1 },
    });
    const sharing = await probeSharing(keys, plan, context);
    expect(sharing.quotas).toEqual([["a"]]);
    expect(sharing.notKnown).toEqual([{ name: "b", why: expect.stringMatching(/the provider answered 50[03]/) }]);
    expect(counted()).toBeLessThanOrEqual(plan.most);
  });

  test.concurrent("a window that is never full proves nothing", async ({ expect, onTestFinished }) => {
    const open = await world(onTestFinished, { accounts: [["a", "b"]], more: { mode: "countOnly" } });
    const { notKnown } = await probeSharing(open.keys, open.plan, context);
    expect(notKnown).toEqual([{ name: "a", why: expect.stringMatching(/not refused after|no more than/) }]);
    expect(open.counted()).toBeLessThanOrEqual(open.plan.most);
  });

  test.concurrent("what may be spent ends it in time", async ({ expect, onTestFinished }) => {
    const { keys, counted } = await world(onTestFinished, { accounts: [["a", "b"], ["c"]] });
    const plan = planProbe(keys, 20);
    const { notKnown, calls } = await probeSharing(keys, plan, context);
    expect(plan.most).toBe(20);
    expect(calls).toBe(counted());
    expect(counted()).toBeLessThanOrEqual(20);
    expect(notKnown.map(({ why }) => why)).toContain("no more than 20 calls were allowed");
  });
});
