import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type Health, type KeyGroupEvent, Snapshot } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import {
  appendOutcomes,
  beat,
  cameraStatus,
  connectClient,
  eventually,
  gatewayWorld,
  quiet,
  taskView,
  until,
} from "../support/gateway.ts";
import { freePort } from "../support/redis.ts";
import { resultOf } from "../support/results.ts";

/** What the answers below hold, one or another. */
interface Body {
  ok?: boolean;
  problems?: string[];
  error?: { code: string };
  code?: string;
  outcomes?: { result: { taskId: string }; imagePath: string }[];
  cameras?: unknown[];
}

async function get(url: string) {
  const response = await fetch(url);
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json");
  const body: Body = isJson ? JSON.parse(text) : {};
  return { status: response.status, headers: response.headers, body, text };
}

test("the snapshot holds all that was emitted before it was asked for", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  const client = await connectClient(gateway.url());
  const seen: string[] = [];
  client.on("outcome", ({ result }) => seen.push(result.taskId));
  for (let round = 0; round < 10; round += 1) {
    const ids = Array.from({ length: 5 }, (_, i) => `m${round}-${i}_group1`);
    const images = ids.map((id) => `vigilane:images/north-gate/2026112314/${id}.jpg`);
    await appendOutcomes(world.redis, ...ids.map((taskId, i) => resultOf({ taskId, imageUrl: images[i] ?? null })));
    await until(client, "outcome", () => seen.length >= (round + 1) * 5);
    const { body } = await get(`${gateway.url()}/api/snapshot`);
    const known = Snapshot.parse(body).outcomes.map(({ result }) => result.taskId);
    expect(seen.filter((id) => !known.includes(id))).toEqual([]);
    expect(body.outcomes?.[0]).toMatchObject({ imagePath: `/images/north-gate/2026112314/m${round}-4_group1.jpg` });
  }
});

test("snapshot, cameras and key groups: what the store says; a camera nobody renews is offline", async () => {
  const world = await gatewayWorld();
  const gone = cameraStatus("gone", { atMs: quiet.clock.nowMs() - 6_000 });
  await world.redis.hset(KEYS.cameras, "north", JSON.stringify(cameraStatus("north")), "gone", JSON.stringify(gone));
  const group: KeyGroupEvent = {
    id: "sim-a",
    account: "sim-a",
    provider: "simulator",
    model: "sim-vl",
    simulated: true,
    strategy: "round_robin",
    routing: "round_robin",
    weight: 1,
    region: null,
    quality: 3,
    pricePerCall: null,
    state: "available",
    cause: null,
    ...{ reason: null, refusals: {}, cools: null, coolingLeftMs: 0, disabledLeftMs: null },
    inFlight: 0,
    concurrency: null,
    windows: [],
    waitsFor: null,
    calls: 1,
    ok: 1,
    rejected429: 0,
    failures: {},
    medianLatencyMs: 300,
    p95LatencyMs: 320,
    latency: { counts: [1, 0, 0, 0, 0, 0, 0], sumMs: 300 },
    tokens: { prompt: 1_000, completion: 90 },
    guardMs: 25,
    keys: [],
  };
  await world.redis.hset(KEYS.keyGroups, "sim-a", JSON.stringify(group), "broken", "{");
  const gateway = await world.start();
  const snapshot = Snapshot.parse((await get(`${gateway.url()}/api/snapshot`)).body);
  expect(snapshot).toMatchObject({ keyGroups: [group], simulated: true, permitted: false, totals: null });
  expect(snapshot.health).toMatchObject({ store: "up", storeInMemory: false });
  const states = snapshot.cameras.map(({ cameraId, status }) => [cameraId, status?.state, status?.detail]);
  expect(states).toEqual([
    ["gone", "offline", "its detector does not answer"],
    ["north", "online", ""],
  ]);
  expect((await get(`${gateway.url()}/api/cameras`)).body).toEqual({ cameras: snapshot.cameras });
});

test("outcomes: newest first, of one camera, as many as asked for", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  for (let i = 0; i < 6; i += 1) {
    await appendOutcomes(world.redis, resultOf({ taskId: `m${i}_group1`, cameraId: i % 2 === 0 ? "even" : 1 }));
  }
  const ids = async (query: string) => {
    const { body } = await get(`${gateway.url()}/api/outcomes${query}`);
    return body.outcomes?.map(({ result }) => result.taskId.slice(0, 2));
  };
  expect(await ids("")).toEqual(["m5", "m4", "m3", "m2", "m1", "m0"]);
  expect(await ids("?camera=even&limit=2")).toEqual(["m4", "m2"]);
  expect(await ids("?camera=1")).toEqual(["m5", "m3", "m1"]);
  for (const query of ["?limit=0", "?limit=1001", "?limit=x"]) {
    const { status, body } = await get(`${gateway.url()}/api/outcomes${query}`);
    expect([status, body.error?.code]).toEqual([400, "REQUEST_UNREADABLE"]);
  }
});

test("waiting: who is next, how old, and how long it may still wait", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  world.waiting.tasks.set("m1_group1", taskView("m1_group1", { remainingMs: 4_200 }));
  const { body } = await get(`${gateway.url()}/api/waiting?limit=1`);
  expect(body).toMatchObject({
    counts: { waiting: 1, moving: 0, calling: 0 },
    tasks: [{ taskId: "m1_group1", remainingMs: 4_200, cameraId: null, score: null, imagePath: null }],
  });
});

test("crops: immutable while they are there, a clear error when they are gone", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  const jpeg = Buffer.from([0xff, 0xd8, 1, 2, 3, 0xff, 0xd9]);
  const reference = await world.images.put("north-gate", "m1-group1", jpeg);
  const url = `${gateway.url()}/${reference.slice("vigilane:".length)}`;
  const response = await fetch(url);
  expect(Buffer.from(await response.arrayBuffer())).toEqual(jpeg);
  expect(response.headers.get("content-type")).toBe("image/jpeg");
  expect(response.headers.get("cache-control")).toContain("immutable");

  await world.images.remove([reference]);
  const gone = await get(url);
  expect([gone.status, gone.body.error?.code]).toEqual([410, "IMAGE_GONE"]);
  expect(gone.headers.get("cache-control") ?? "").not.toContain("immutable");
});

test("the page: a plain word when it is not built, the built one when it is, errors as JSON elsewhere", async () => {
  const world = await gatewayWorld();
  const folder = mkdtempSync(join(tmpdir(), "vigilane-built-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const gateway = await world.start({ pageFolder: folder });
  const plain = await get(`${gateway.url()}/`);
  expect([plain.status, plain.text]).toEqual([200, expect.stringContaining("npm run build:dashboard")]);

  mkdirSync(join(folder, "assets"));
  writeFileSync(join(folder, "index.html"), "<!doctype html><title>built</title>");
  writeFileSync(join(folder, "assets", "app-1a2b.js"), "export {};");
  expect((await get(`${gateway.url()}/`)).text).toContain("<title>built</title>");
  expect((await get(`${gateway.url()}/cameras/north-gate`)).text).toContain("<title>built</title>");
  expect((await get(`${gateway.url()}/`)).headers.get("cache-control")).toBe("no-cache");
  expect((await get(`${gateway.url()}/assets/app-1a2b.js`)).headers.get("cache-control")).toContain("immutable");
  for (const path of ["/api/nothing", "/assets/nothing.js", "/images/x", "/..%2f..%2fetc/passwd"]) {
    const { status, body } = await get(`${gateway.url()}${path}`);
    expect([path, status, body.error?.code]).toEqual([path, 404, "NOT_FOUND"]);
  }
});

test("ready: only when every role that was asked for has a fresh and ready heartbeat", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start({ askedRoles: ["worker", "bridge"] });
  const ready = () => get(`${gateway.url()}/readyz`);
  expect(await ready()).toMatchObject({
    status: 503,
    body: { ok: false, problems: ["worker does not answer", "bridge does not answer"] },
  });
  await beat(world.redis, "worker");
  await beat(world.redis, "bridge", { ready: false, detail: "no key groups" });
  await eventually(async () => (await ready()).body.problems).toEqual(["bridge is not ready: no key groups"]);
  await beat(world.redis, "worker");
  await beat(world.redis, "bridge");
  await eventually(async () => (await ready()).status).toBe(200);
  await beat(world.redis, "worker", { atMs: quiet.clock.nowMs() - 5_001 });
  await eventually(async () => (await ready()).body.problems).toEqual(["worker does not answer"]);
});

test.each(["SIGKILL", "SIGSTOP"] as const)(
  "the store away (%s): said within seconds, pages stay, all goes on by itself",
  async (how) => {
    const world = await gatewayWorld();
    const gateway = await world.start({ askedRoles: [] });
    await world.redis.hset(KEYS.cameras, "north", JSON.stringify(cameraStatus("north")));
    const client = await connectClient(gateway.url());
    const heard: Health[] = [];
    client.on("health", (health) => heard.push(health));
    const seen: string[] = [];
    client.on("outcome", ({ result }) => seen.push(result.taskId));
    await appendOutcomes(world.redis, resultOf({ taskId: "before_group1" }));
    await until(client, "outcome", () => seen.length === 1);
    await eventually(async () => (await get(`${gateway.url()}/api/cameras`)).body.cameras?.length).toBe(1);

    const downAt = performance.now();
    await world.store.kill(how);
    await until(client, "health", () => heard.some(({ store }) => store === "away"));
    expect(performance.now() - downAt).toBeLessThan(6_000); // promised: 2 s
    expect(heard.at(-1)).toMatchObject({ ok: false, problems: ["the store is away"] });
    expect(await get(`${gateway.url()}/readyz`)).toMatchObject({
      status: 503,
      body: { problems: ["the store is away"] },
    });

    const snapshot = Snapshot.parse((await get(`${gateway.url()}/api/snapshot`)).body);
    expect(snapshot.outcomes.map(({ result }) => result.taskId)).toEqual(["before_group1"]);
    expect(snapshot.cameras.map(({ cameraId }) => cameraId)).toEqual(["north"]);
    const waiting = await get(`${gateway.url()}/api/waiting`);
    expect([waiting.status, waiting.body.error?.code]).toEqual([503, "STORE_AWAY"]);
    expect((await get(`${gateway.url()}/jobs`)).status).toBe(200);
    const board = await get(`${gateway.url()}/jobs/board/api/queues`);
    expect([board.status, board.body.code]).toEqual([503, "STORE_AWAY"]);
    const newcomer = await connectClient(gateway.url());
    expect(newcomer.connected).toBe(true);

    if (how === "SIGSTOP") await world.store.kill("SIGCONT");
    else await world.store.restart();
    await until(client, "health", () => heard.at(-1)?.store === "up");
    await appendOutcomes(world.redis, resultOf({ taskId: "after_group1" }));
    await until(client, "outcome", () => seen.includes("after_group1"));
    expect(seen).toEqual(["before_group1", "after_group1"]);
    expect((await get(`${gateway.url()}/readyz`)).status).toBe(200);
  },
);

test("a port in use is named with its setting, and nothing stays behind", async () => {
  const world = await gatewayWorld();
  const port = await freePort();
  await world.start({ port });
  await expect(world.start({ port })).rejects.toMatchObject({
    code: "PORT_IN_USE",
    message: `port ${port} of 127.0.0.1 is in use (setting port)`,
  });
  const clients = () => world.redis.client("LIST") as Promise<string>;
  // The second one's connections are gone: each gateway has three, and two of socket.io's adapter.
  await expect.poll(async () => (await clients()).trim().split("\n").length, { timeout: 10_000 }).toBe(6);
});

test("metrics: what the store says and what this gateway did", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start({ askedRoles: [] });
  const client = await connectClient(gateway.url());
  const seen: unknown[] = [];
  client.on("outcome", (event) => seen.push(event));
  await appendOutcomes(world.redis, resultOf({ taskId: "m1_group1" }));
  await until(client, "outcome", () => seen.length === 1);
  const { text } = await get(`${gateway.url()}/metrics`);
  expect(text).toContain("vigilane_store_up 1\n");
  expect(text).toContain("vigilane_healthy 1\n");
  expect(text).toContain("vigilane_gateway_sockets 1\n");
  expect(text).toContain('vigilane_gateway_events_shown_total{type="outcome"} 1\n');
  expect(text).toContain("vigilane_end_to_end_seconds_count 1\n");
});
