/** Each dialect as the simulated provider speaks it, over real HTTP, read by the real vision client: the cause is the right one. */
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Context, systemClock } from "../../src/context.ts";
import { Refusal, type RefusalCause, type SortedRefusal } from "../../src/processors/refusal.ts";
import { createVisionClient, type VisionClient } from "../../src/processors/vision-client.ts";
import { REFUSE_CAUSES, type RefuseCause, SimulatorConfig } from "../../src/simulator/simulator-config.ts";
import { startVisionProvider, type VisionProvider } from "../../src/simulator/vision-provider.ts";

const context: Context = { clock: systemClock, log: pino({ level: "silent" }) };
const messages = [{ role: "user" as const, content: "Answer in JSON." }];
const DIALECTS = ["dashscope", "openai", "gemini", "openrouter", "vllm", "generic"] as const;
type Name = (typeof DIALECTS)[number];

/** What each simulated refusal must be sorted as: its own name, but for what a dialect has no words for. */
const OWN: Record<RefuseCause, RefusalCause> = {
  second: "rate_second",
  minute: "rate_minute",
  burst: "burst",
  tokens: "tokens",
  day: "day",
  balance: "balance",
  key: "key",
  model: "model",
  content: "content",
  request: "request",
  server: "server",
};
const EXPECTED: Record<Name, Record<RefuseCause, RefusalCause>> = {
  // It does not say whether of a second or a minute.
  dashscope: { ...OWN, minute: "rate_second" },
  openai: OWN,
  // It knows no seconds and no bursts.
  gemini: { ...OWN, second: "rate_minute", burst: "rate_minute" },
  // What is no limit of its own is the provider's behind it.
  openrouter: { ...OWN, second: "rate_minute", burst: "server", tokens: "server" },
  // A queue is all that can be full.
  vllm: { ...OWN, second: "burst", minute: "burst", tokens: "burst", day: "burst" },
  generic: OWN,
};

let providers: Record<"silent" | "telling", VisionProvider>;
const clients: VisionClient[] = [];

beforeAll(async () => {
  const start = (retryAfter: boolean) =>
    startVisionProvider(
      {
        config: SimulatorConfig.parse({
          latency: { meanMs: 0, p95Ms: 0 },
          retryAfter,
          accounts: DIALECTS.map((dialect) => ({
            id: dialect,
            keys: [`key-${dialect}`, `dead-${dialect}`],
            dialect,
            windows: { requestsPerMinute: 2 },
            faults: { deadKeys: [`dead-${dialect}`] },
          })),
        }),
      },
      context,
    );
  providers = { silent: await start(false), telling: await start(true) };
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await Promise.all(Object.values(providers).map((provider) => provider.stop()));
});

function clientOf(provider: VisionProvider, name: Name, secret = `key-${name}`, timeoutMs = 10_000): VisionClient {
  const client = createVisionClient({ baseUrl: provider.url, secret, model: "m", provider: name, timeoutMs }, context);
  clients.push(client);
  return client;
}

async function sortedOf(call: Promise<unknown>): Promise<SortedRefusal> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof Refusal)) throw new Error(`no refusal but ${String(error)}`);
  return error.sorted;
}

describe.each(DIALECTS)("%s", (name) => {
  test.each([...REFUSE_CAUSES])("refused for: %s", async (cause) => {
    const provider = providers.silent;
    provider.setFaults({ refuse: cause }, name);
    const sorted = await sortedOf(clientOf(provider, name).assess({ messages }));
    provider.setFaults(null, name);
    expect(sorted.cause).toBe(EXPECTED[name][cause]);
  });

  test("a dead key, an unpaid account, a drawn content refusal and server error", async () => {
    const provider = providers.silent;
    const dead = await sortedOf(clientOf(provider, name, `dead-${name}`).assess({ messages }));
    expect(dead).toMatchObject({ cause: "key", blames: "key", cools: "key", retry: "elsewhere" });
    const found: Record<string, RefusalCause> = {};
    const faults = { balance: { arrears: true }, content: { contentRefusalRate: 1 }, server: { serverErrorRate: 1 } };
    for (const [cause, fault] of Object.entries(faults)) {
      const other = await startVisionProvider(
        {
          config: SimulatorConfig.parse({
            latency: { meanMs: 0, p95Ms: 0 },
            accounts: [{ id: name, keys: [`key-${name}`], dialect: name, faults: fault }],
          }),
        },
        context,
      );
      found[cause] = (await sortedOf(clientOf(other, name).assess({ messages }))).cause;
      await other.stop();
    }
    expect(found).toEqual({ balance: "balance", content: "content", server: "server" });
  });

  test("no answer in time, and nobody there", async () => {
    const provider = providers.silent;
    provider.setFaults({ hang: true }, name);
    const late = await sortedOf(clientOf(provider, name, `key-${name}`, 60).assess({ messages }));
    provider.setFaults(null, name);
    expect(late.cause).toBe("timeout");
    const nowhere = createVisionClient(
      { baseUrl: "http://127.0.0.1:1/v1", secret: "k", model: "m", provider: name, timeoutMs: 5_000 },
      context,
    );
    clients.push(nowhere);
    expect((await sortedOf(nowhere.assess({ messages }))).cause).toBe("network");
  });

  test("a window that is really full, with the wait that it names", async () => {
    const client = clientOf(providers.telling, name);
    await client.assess({ messages });
    await client.assess({ messages });
    const sorted = await sortedOf(client.assess({ messages }));
    if (name === "vllm") expect(sorted).toMatchObject({ cause: "burst", told: false, cools: "maxConcurrent" });
    else {
      expect(sorted).toMatchObject({ code: "RATE_LIMITED", told: true });
      expect(sorted.coolMs).toBeGreaterThan(50_000);
      expect(sorted.coolMs).toBeLessThanOrEqual(60_000);
    }
  });

  test("a day that is used up ends when the provider says that days end", async () => {
    providers.telling.setFaults({ refuse: "day" }, name);
    const sorted = await sortedOf(clientOf(providers.telling, name).assess({ messages }));
    providers.telling.setFaults(null, name);
    if (name === "vllm") return expect(sorted.cause).toBe("burst");
    expect(sorted).toMatchObject({ cause: "day", code: "QUOTA_EXHAUSTED", told: true });
    const zone = { gemini: "America/Los_Angeles" }[name as string];
    if (zone === undefined) return expect(sorted.coolMs).toBeGreaterThan(5 * 3_600_000);
    const end = new Date(Date.now() + sorted.coolMs);
    const clock = end.toLocaleTimeString("en-GB", { timeZone: zone });
    expect(["00:00:00", "23:59:59", "00:00:01"]).toContain(clock);
  });
});

test("an unknown key is refused in the dialect of the whole", async () => {
  const sorted = await sortedOf(clientOf(providers.silent, "dashscope", "nobody's").assess({ messages }));
  expect(sorted).toMatchObject({ cause: "key", blames: "key" });
});
