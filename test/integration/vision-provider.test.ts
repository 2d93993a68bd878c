/** The simulated provider over real HTTP: exact windows, faults, restarts, load, and the doors of its own interface. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import sharp from "sharp";
import { afterEach, expect, test } from "vitest";
import type { z } from "zod";
import { type Context, systemClock } from "../../src/context.ts";
import { createVisionClient, type VisionClient } from "../../src/processors/vision-client.ts";
import { Accounts } from "../../src/simulator/accounts.ts";
import { SimulatorConfig } from "../../src/simulator/simulator-config.ts";
import { createVisionProvider, startVisionProvider, type VisionProvider } from "../../src/simulator/vision-provider.ts";
import { stressStartStop } from "../support/service-stress.ts";

const context: Context = { clock: systemClock, log: pino({ level: "silent" }) };
const instant = { latency: { meanMs: 0, p95Ms: 0 } };
const jpeg = await sharp({ create: { width: 640, height: 480, channels: 3, background: "#345" } })
  .jpeg()
  .toBuffer();
const picture = `data:image/jpeg;base64,${jpeg.toString("base64")}`;

let releases: (() => unknown)[] = [];
afterEach(async () => {
  for (const release of releases.reverse()) await release();
  releases = [];
});

async function start(
  config: z.input<typeof SimulatorConfig>,
  more: { folder?: string; clock?: Context["clock"] } = {},
) {
  const provider = await startVisionProvider(
    { config: SimulatorConfig.parse(config), ...(more.folder === undefined ? {} : { folder: more.folder }) },
    { ...context, clock: more.clock ?? systemClock },
  );
  releases.push(() => provider.stop());
  return provider;
}

function clientOf(provider: VisionProvider, secret = "k1"): VisionClient {
  const options = { baseUrl: provider.url, secret, model: "any", timeoutMs: 20_000 };
  const client = createVisionClient(options, context);
  releases.push(() => client.close());
  return client;
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-provider-"));
  releases.unshift(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const messages = [
  {
    role: "user" as const,
    content: [
      { type: "text" as const, text: "JSON please" },
      { type: "image_url" as const, image_url: { url: picture } },
    ],
  },
];
const call = (client: VisionClient) => client.assess({ messages });
const seen = (provider: VisionProvider, id = "a") => {
  const account = provider.stats().accounts.find((one) => one.id === id);
  if (!account) throw new Error(`no account ${id}`);
  return account;
};
/** A clock that stands still until it is moved; sleeping takes no time. */
function handMoved() {
  let atMs = 1_000_000;
  const clock: Context["clock"] = { nowMs: () => atMs + 1.7e12, monotonicMs: () => atMs, sleep: async () => {} };
  return { clock, forward: (ms: number) => (atMs += ms) };
}
const outcomes = async (calls: Promise<unknown>[]) => {
  const settled = await Promise.allSettled(calls);
  return { ok: settled.filter(({ status }) => status === "fulfilled").length, settled };
};

test("an answer is marked as simulated three times, and counts tokens as Qwen3-VL does", async () => {
  const provider = await start({ ...instant, accounts: [{ id: "a", keys: ["k1"] }] });
  const response = await fetch(`${provider.url}/chat/completions`, {
    method: "POST",
    headers: { authorization: "Bearer k1", "content-type": "application/json" },
    body: JSON.stringify({ model: "any", messages }),
  });
  expect(response.headers.get("x-vigilane-simulated")).toBe("true");
  const body = (await response.json()) as Record<string, unknown>;
  expect(body).toMatchObject({
    model: "simulated-vision",
    system_fingerprint: "simulated",
    // 640 × 480 / 32² + 2 = 302, and three tokens of text
    usage: { prompt_tokens: 305 },
  });
  expect(await (await fetch(`${provider.url}/models`)).json()).toMatchObject({ data: [{ id: "simulated-vision" }] });
});

test("all keys of an account share its windows; another account has its own", async () => {
  const windows = { requestsPerMinute: 6 };
  const provider = await start({
    ...instant,
    accounts: [
      { id: "a", keys: ["k1", "k2"], windows },
      { id: "b", keys: ["k3"], windows },
    ],
  });
  const clients = ["k1", "k2", "k3"].map((key) => clientOf(provider, key));
  const results = await outcomes(clients.flatMap((client) => Array.from({ length: 6 }, () => call(client))));
  expect(results.ok).toBe(12);
  expect(seen(provider, "a")).toMatchObject({ calls: 12, admitted: 6, refused: { requestsPerMinute: 6 } });
  expect(seen(provider, "b")).toMatchObject({ calls: 6, admitted: 6, refused: {} });
});

test("windows slide exactly: a place is free one window after its call, not before", async () => {
  const { clock, forward } = handMoved();
  const provider = await start(
    { ...instant, accounts: [{ id: "a", keys: ["k1"], windows: { requestsPerSecond: 2, requestsPerMinute: 3 } }] },
    { clock },
  );
  const client = clientOf(provider);
  const fits = async () => (await outcomes([call(client)])).ok === 1;
  expect(await fits()).toBe(true);
  forward(400);
  expect(await fits()).toBe(true);
  forward(599);
  expect(await fits()).toBe(false);
  forward(1);
  expect(await fits()).toBe(true); // the first is 1,000 ms ago
  forward(58_999);
  expect(await fits()).toBe(false); // three within the minute
  forward(1);
  expect(await fits()).toBe(true);
  expect(seen(provider).windows).toMatchObject({ requestsPerSecond: { most: 2 }, requestsPerMinute: { most: 3 } });
});

test("200 calls at once: each window holds exactly its limit, all the others are refused, nobody waits for long", async () => {
  const accounts = Array.from({ length: 10 }, (_, i) => ({
    id: `a${i}`,
    keys: [`k${i}`],
    windows: { requestsPerMinute: 7 },
  }));
  const provider = await start({ latency: { meanMs: 100, p95Ms: 100 }, accounts });
  const clients = accounts.map(({ keys }) => clientOf(provider, keys[0] ?? ""));
  const results = await outcomes(clients.flatMap((client) => Array.from({ length: 20 }, () => call(client))));
  expect(results.ok).toBe(70);
  for (const { id } of accounts) {
    expect(seen(provider, id)).toMatchObject({
      calls: 20,
      admitted: 7,
      ok: 7,
      refused: { requestsPerMinute: 13 },
      inFlight: 0,
    });
  }
});

test("200 calls are in flight at once, and all are answered", async () => {
  const provider = await start({ latency: { meanMs: 1_500, p95Ms: 1_500 }, accounts: [{ id: "a", keys: ["k1"] }] });
  const client = clientOf(provider);
  const calls = Array.from({ length: 200 }, () => call(client));
  await provider.until((stats) => stats.accounts[0]?.inFlight === 200);
  expect((await outcomes(calls)).ok).toBe(200);
  expect(seen(provider)).toMatchObject({ ok: 200, mostInFlight: 200, inFlight: 0 });
});

test("countOnly refuses nothing and reports the most that lay in each window", async () => {
  const { clock, forward } = handMoved();
  const provider = await start(
    {
      ...instant,
      mode: "countOnly",
      accounts: [{ id: "a", keys: ["k1"], windows: { requestsPerSecond: 2, requestsPerMinute: 4, maxConcurrent: 1 } }],
    },
    { clock },
  );
  const client = clientOf(provider);
  for (const gapMs of [0, 0, 0, 999, 1, 5_000, 54_000, 0]) {
    forward(gapMs);
    await call(client);
  }
  expect(seen(provider)).toMatchObject({
    ok: 8,
    refused: {},
    // At 0, 0, 0, 999 four lie in one second; up to 6,000 all six lie in one minute; the first three leave it at 60,000.
    windows: { requestsPerSecond: { limit: 2, most: 4 }, requestsPerMinute: { limit: 4, most: 6, used: 5 } },
  });
});

test("maxConcurrent counts calls between arrival and answer", async () => {
  const provider = await start({
    accounts: [{ id: "a", keys: ["k1"], windows: { maxConcurrent: 3 }, faults: { hang: true } }],
  });
  const client = clientOf(provider);
  const giveUp = new AbortController();
  const three = Array.from({ length: 3 }, () => client.assess({ messages }, { signal: giveUp.signal }));
  const ended = Promise.allSettled(three);
  await provider.until((stats) => stats.accounts[0]?.inFlight === 3);
  await expect(call(client)).rejects.toMatchObject({ code: "RATE_LIMITED", sorted: { cause: "burst" } });
  giveUp.abort();
  await ended;
  await provider.until((stats) => stats.accounts[0]?.inFlight === 0);
  provider.setFaults({ hang: false, latencyMs: 0 });
  await call(client);
  expect(seen(provider)).toMatchObject({ gaveUp: 3, ok: 1, refused: { concurrency: 1 } });
});

test("whether refused calls take a place is a setting", async () => {
  const run = async (refusedCallsCount: boolean) => {
    const { clock, forward } = handMoved();
    const provider = await start(
      { ...instant, refusedCallsCount, accounts: [{ id: "a", keys: ["k1"], windows: { requestsPerSecond: 1 } }] },
      { clock },
    );
    const client = clientOf(provider);
    await call(client);
    forward(600);
    await outcomes([call(client)]);
    forward(600);
    return (await outcomes([call(client)])).ok;
  };
  expect(await run(false)).toBe(1);
  expect(await run(true)).toBe(0);
});

test("windows outlive a restart, also for keys that come back under the same account", async () => {
  const folder = temporaryFolder();
  const accounts = [{ id: "a", keys: ["k1"], windows: { requestsPerMinute: 5 } }];
  const first = await start({ ...instant, accounts }, { folder });
  expect((await outcomes(Array.from({ length: 3 }, () => call(clientOf(first))))).ok).toBe(3);
  await first.stop();
  const second = await start({ ...instant, accounts: [{ ...accounts[0], id: "a", keys: ["another"] }] }, { folder });
  const client = clientOf(second, "another");
  expect((await outcomes(Array.from({ length: 4 }, () => call(client)))).ok).toBe(2);
  expect(seen(second).windows).toMatchObject({ requestsPerMinute: { used: 5, most: 5 } });
});

test("what is older than every window is forgotten over restarts, in memory and on disk", async () => {
  const folder = temporaryFolder();
  const { clock, forward } = handMoved();
  const config = { ...instant, accounts: [{ id: "a", keys: ["k1"], windows: { requestsPerMinute: 2 } }] };
  for (const usedBefore of [0, 1, 0]) {
    const provider = await start(config, { folder, clock });
    expect(seen(provider).windows).toMatchObject({ requestsPerMinute: { used: usedBefore } });
    await call(clientOf(provider));
    await provider.stop();
    forward(usedBefore === 1 ? 200_000 : 30_000);
  }
  forward(200_000);
  const last = await start(config, { folder, clock });
  await last.stop();
  expect(readdirSync(folder).length).toBeLessThanOrEqual(2);
});

test("each fault comes as its provider would send it, and goes again", async () => {
  const provider = await start({ ...instant, accounts: [{ id: "a", keys: ["k1", "k2"] }] });
  const client = clientOf(provider);
  const fails = (code: string, cause: string) =>
    expect(call(client)).rejects.toMatchObject({ name: "Refusal", code, sorted: { cause } });
  provider.setFaults({ status: 503 });
  await fails("PROVIDER_FAILED", "server");
  provider.setFaults({ status: null, serverErrorRate: 1 });
  await fails("PROVIDER_FAILED", "server");
  provider.setFaults({ serverErrorRate: 0, arrears: true });
  await fails("QUOTA_EXHAUSTED", "balance");
  provider.setFaults({ arrears: false, deadKeys: ["k1"] });
  await fails("KEY_REJECTED", "key");
  await call(clientOf(provider, "k2"));
  provider.setFaults({ deadKeys: [], contentRefusalRate: 1 });
  await fails("CONTENT_REFUSED", "content");
  provider.setFaults(null);
  provider.setFaults({ brokenJsonRate: 1, calls: 1 });
  await call(client);
  expect(seen(provider)).toMatchObject({ broken: 1 });
  await call(client);
  expect(seen(provider)).toMatchObject({ ok: 2, refused: { status: 1, server: 1, arrears: 1, key: 1, content: 1 } });
});

test("a fault for some calls gives way to the next one, and both to what was before", async () => {
  const provider = await start({ ...instant, accounts: [{ id: "a", keys: ["k1"] }] });
  const client = clientOf(provider);
  const next = () =>
    call(client).then(
      () => "ok",
      (error: { code: string }) => error.code,
    );
  provider.setFaults({ arrears: true, calls: 9 });
  expect(await next()).toBe("QUOTA_EXHAUSTED");
  provider.setFaults({ status: 500, calls: 2 });
  expect([await next(), await next(), await next()]).toEqual(["PROVIDER_FAILED", "PROVIDER_FAILED", "ok"]);
});

test("rates of faults are met, and the same seed draws the same", async () => {
  const draw = async (seed: number) => {
    const faults = { serverErrorRate: 0.2, brokenJsonRate: 0.25 };
    const provider = await start({ ...instant, seed, accounts: [{ id: "a", keys: ["k1"], faults }] });
    const client = clientOf(provider);
    await outcomes(Array.from({ length: 400 }, () => call(client)));
    const { ok, broken, refused } = seen(provider);
    return { ok, broken, server: refused.server ?? 0 };
  };
  const drawn = await draw(4);
  expect(drawn.server / 400).toBeCloseTo(0.2, 1);
  expect(drawn.broken / (drawn.ok + drawn.broken)).toBeCloseTo(0.25, 1);
  expect(await draw(4)).toEqual(drawn);
});

test("the answer takes as long as the latency says", async () => {
  const provider = await start({ accounts: [{ id: "a", keys: ["k1"], faults: { latencyMs: 300 } }] });
  const { latencyMs } = await call(clientOf(provider));
  expect(latencyMs).toBeGreaterThanOrEqual(299);
  expect(latencyMs).toBeLessThan(2_000);
});

/** A clock that stands still but for sleeping, which says how long it would take and takes as long as it is told. */
function sleepsOnDemand() {
  let atMs = 1_000_000;
  const sleeping: { ms: number; wake: () => void }[] = [];
  const asleep = new Set<() => void>();
  const clock: Context["clock"] = {
    nowMs: () => atMs + 1.7e12,
    monotonicMs: () => atMs,
    sleep: (ms) =>
      new Promise((wake) => {
        sleeping.push({ ms, wake });
        for (const tell of asleep) tell();
      }),
  };
  return {
    clock,
    /** The n-th sleep since the start, from 0, as soon as it has begun. */
    async sleep(n: number): Promise<{ ms: number; wake: () => void }> {
      while (sleeping[n] === undefined) await new Promise<void>((resolve) => asleep.add(resolve));
      return sleeping[n];
    },
    forward: (ms: number) => (atMs += ms),
  };
}

test("a call on its way is not counted until it arrives, calls overtake each other, and answers take as long as ever", async () => {
  const { clock, sleep, forward } = sleepsOnDemand();
  const provider = await start(
    {
      latency: { meanMs: 300, p95Ms: 300 },
      uplink: { meanMs: 20, p95Ms: 35 },
      accounts: [
        { id: "a", keys: ["k1"], windows: { requestsPerMinute: 1 } },
        { id: "b", keys: ["k2"] },
      ],
    },
    { clock },
  );
  const first = call(clientOf(provider)).then(
    () => "ok",
    (error: { code: string }) => error.code,
  );
  const wayOfFirst = await sleep(0);
  const second = call(clientOf(provider));
  const wayOfSecond = await sleep(1);
  expect(wayOfFirst.ms).toBeGreaterThan(0);
  expect(wayOfSecond.ms).not.toBe(wayOfFirst.ms);
  expect(seen(provider)).toMatchObject({ calls: 0, inFlight: 0 });

  forward(25);
  wayOfSecond.wake();
  await provider.until((stats) => stats.accounts[0]?.admitted === 1);
  forward(7);
  wayOfFirst.wake();
  expect(await first).toBe("RATE_LIMITED"); // it had left first
  const latency = await sleep(2);
  expect(latency.ms).toBeCloseTo(300 - 7, 6); // from the second's arrival: the way is no part of it
  latency.wake();
  await second;
  expect(seen(provider)).toMatchObject({ calls: 2, admitted: 1, ok: 1, refused: { requestsPerMinute: 1 } });

  const giveUp = new AbortController();
  const gone = clientOf(provider, "k2").assess({ messages }, { signal: giveUp.signal });
  const wayOfGone = await sleep(3);
  giveUp.abort();
  await expect(gone).rejects.toMatchObject({ code: "STOPPED" });
  wayOfGone.wake();
  await provider.until((stats) => stats.accounts[1]?.gaveUp === 1);
  expect(seen(provider, "b")).toMatchObject({ calls: 1, admitted: 1, inFlight: 0 });
});

test("the ways have the distribution that was set, and leave the answers' as it was", async () => {
  const [withWay, without] = [{ uplink: { meanMs: 20, p95Ms: 50 } }, {}].map(
    (more) => new Accounts(SimulatorConfig.parse(more), context),
  );
  const draws = (draw: (() => number) | undefined) => Array.from({ length: 4_000 }, () => draw?.() ?? Number.NaN);
  const ways = draws(withWay?.drawUplinkMs).toSorted((a, b) => a - b);
  expect(Math.abs(ways.reduce((sum, ms) => sum + ms, 0) / ways.length - 20)).toBeLessThan(1);
  expect(Math.abs((ways[3_800] ?? 0) - 50)).toBeLessThan(5);
  expect(draws(without?.drawUplinkMs)).toEqual(Array.from({ length: 4_000 }, () => 0));
  expect(draws(withWay?.drawLatencyMs)).toEqual(draws(without?.drawLatencyMs));
});

test.each([
  ["no JSON", "{", /no JSON/],
  ["no model", JSON.stringify({ messages }), /model/],
  ["no messages", JSON.stringify({ model: "m", messages: [] }), /messages/],
  ["streaming", JSON.stringify({ model: "m", messages, stream: true }), /stream/],
  [
    "json_object without the word",
    JSON.stringify({
      model: "m",
      messages: [{ role: "user", content: "hi" }],
      response_format: { type: "json_object" },
    }),
    /word 'json'/,
  ],
  ["an image elsewhere", withImage("https://example.org/a.jpg"), /data: URL/],
  ["an image that is none", withImage("data:image/jpeg;base64,AAAA"), /cannot be opened/],
  [
    "a truncated image",
    withImage(`data:image/jpeg;base64,${jpeg.subarray(0, jpeg.length / 2).toString("base64")}`),
    /cannot be opened/,
  ],
])("a bad request is a 400 that says why: %s", async (_, body, why) => {
  const provider = await start({ ...instant, accounts: [{ id: "a", keys: ["k1"] }] });
  const response = await fetch(`${provider.url}/chat/completions`, {
    method: "POST",
    headers: { authorization: "Bearer k1" },
    body,
  });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ error: { message: expect.stringMatching(why) } });
  expect(seen(provider)).toMatchObject({ ok: 0, refused: { request: 1 }, inFlight: 0 });
});

function withImage(url: string): string {
  return JSON.stringify({
    model: "m",
    messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }],
  });
}

test("its interface: stats, faults for one account or all, and what it does not take", async () => {
  const provider = await start({
    ...instant,
    accounts: [
      { id: "a", keys: ["k1"] },
      { id: "b", keys: ["k2"] },
    ],
  });
  const at = (path: string, init?: RequestInit) => fetch(new URL(path, provider.url), init);
  const post = (change: unknown, headers: Record<string, string> = { "content-type": "application/json" }) =>
    at("/simulator/faults", { method: "POST", headers, body: JSON.stringify(change) });
  expect((await post({ account: "b", status: 500 })).status).toBe(200);
  await expect(call(clientOf(provider, "k2"))).rejects.toMatchObject({ code: "PROVIDER_FAILED" });
  await call(clientOf(provider));
  expect(await (await at("/simulator/stats")).json()).toMatchObject({
    mode: "enforce",
    accounts: [{ ok: 1 }, { refused: { status: 1 } }],
  });
  expect(await (await at("/simulator/faults", { method: "DELETE" })).json()).toMatchObject({ b: { status: null } });
  await call(clientOf(provider, "k2"));
  expect((await post({ account: "c" })).status).toBe(400);
  expect((await post({ hnag: true })).status).toBe(400);
  expect((await post({ hang: true }, { "content-type": "text/plain" })).status).toBe(403);
  expect(
    (await post({ hang: true }, { "content-type": "application/json", origin: "http://evil.example" })).status,
  ).toBe(403);
  expect(await statusWithHost(provider, "evil.example")).toBe(403);
  expect(provider.faults()).toMatchObject({ a: { hang: false }, b: { hang: false } });
});

/** fetch does not let a caller choose its Host. */
const statusWithHost = (provider: VisionProvider, host: string) =>
  new Promise<number | undefined>((resolve, reject) => {
    const { hostname, port } = new URL(provider.url);
    httpRequest({ hostname, port, path: "/simulator/stats", headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on("error", reject)
      .end();
  });

test("it starts and stops in any order, and says when its port is taken", async () => {
  const config = SimulatorConfig.parse(instant);
  await stressStartStop(() => createVisionProvider({ config, folder: temporaryFolder() }, context));
  const provider = await start(instant);
  const second = createVisionProvider({ config, port: provider.port }, context);
  await expect(second.start()).rejects.toMatchObject({ code: "PORT_IN_USE" });
});
