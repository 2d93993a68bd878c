/** The older system's HTTP interface: every field of its documents, reckoned from what the store says. */
import { expect, test } from "vitest";
import type { KeyEvent, KeyGroupEvent } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { beat, eventually, type GatewayWorld, gatewayWorld, taskView } from "../support/gateway.ts";
import { keyGroup, totals } from "../support/page-scenes.ts";

const get = async (url: string, options: RequestInit = {}) => {
  const response = await fetch(url, options);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
};

const key = (id: string, state: KeyEvent["state"]): KeyEvent => ({
  ...{
    id,
    state,
    cause: null,
    reason: null,
    cools: null,
    leftMs: 0,
    inFlight: state === "in_use" ? 1 : 0,
    calls: 0,
    ok: 0,
    failed: 0,
  },
});
const CALLS = { unit: "requests", kind: "sliding" } as const;
const perSecond = (limit: number) => ({ name: "requestsPerSecond", limit, windowMs: 1_000, ...CALLS, used: 0 });
const perMinute = (limit: number) => ({ name: "requestsPerMinute", limit, windowMs: 60_000, ...CALLS, used: 0 });
const slow = { counts: [0, 2, 2, 0, 0, 0, 0], sumMs: 5_000 };
const none = { counts: [], sumMs: 0 };

/** Two groups of one account, one that cools, one without a worker, one whose window counts tokens. */
const GROUPS: KeyGroupEvent[] = [
  keyGroup(1, {
    ...{ id: "a", account: "one", state: "in_use", inFlight: 1, calls: 6, ok: 4, latency: slow },
    windows: [
      perSecond(5),
      perMinute(240),
      { name: "@callsPerDay", limit: 200, windowMs: 86_400_000, ...CALLS, used: 0 },
    ],
    keys: [key("key-1", "in_use"), key("key-2", "available"), key("key-3", "disabled")],
  }),
  keyGroup(2, {
    ...{ id: "b", account: "one", state: "available", inFlight: 0, calls: 1, ok: 0, latency: none },
    windows: [perSecond(2)],
    keys: [key("key-4", "available")],
  }),
  keyGroup(3, {
    ...{ id: "c", account: "two", state: "cooling", inFlight: 0, calls: 5, ok: 5, latency: none },
    windows: [perMinute(180)],
    keys: [key("key-5", "cooling")],
  }),
  keyGroup(4, {
    ...{ id: "d", account: "three", state: "unmanned", inFlight: 0, calls: 0, ok: 0, latency: none },
    windows: [perSecond(7)],
    keys: [key("key-6", "unmanned")],
  }),
  keyGroup(5, {
    ...{ id: "e", account: "four", state: "available", inFlight: 0, calls: 0, ok: 0, latency: none },
    windows: [perSecond(1), { ...perMinute(6), name: "tokensPerMinute", unit: "tokens" }],
    keys: [key("key-7", "available")],
  }),
];
const POOL = {
  total_keys: 7,
  available_keys: 3,
  in_use_keys: 1,
  cooling_keys: 1,
  disabled_keys: 2,
  total_capacity_qps: 4 + 3 + 7,
  available_capacity_qps: 4,
  total_calls: 5 + 1 + 5,
  total_success: 9,
  overall_success_rate: 9 / 11,
  strategy: "round_robin",
};

async function seed({ redis, waiting }: GatewayWorld, groups: readonly KeyGroupEvent[]) {
  for (const group of groups) await redis.hset(KEYS.keyGroups, group.id, JSON.stringify(group));
  await redis.hset(KEYS.totals, "json", JSON.stringify(totals()));
  await redis.hset(KEYS.counters, "calledAgain", 21);
  await beat(redis, "worker");
  await beat(redis, "worker", { instance: "worker-2" });
  for (const id of ["m1_group1", "m2_group1"]) waiting.tasks.set(id, taskView(id));
}

test("the pool of keys: counts by state, capacity, calls, success rate, strategy", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  expect(await get(`${gateway.url()}/api-key-pool/health`)).toEqual({
    status: 200,
    body: {
      ...{ total_keys: 0, available_keys: 0, in_use_keys: 0, cooling_keys: 0, disabled_keys: 0 },
      ...{ total_capacity_qps: 0, available_capacity_qps: 0, total_calls: 0, total_success: 0 },
      ...{ overall_success_rate: 0, strategy: "round_robin" },
    },
  });
  await seed(world, GROUPS.slice(0, 4));
  await eventually(async () => (await get(`${gateway.url()}/api-key-pool/health`)).body).toEqual({
    ...POOL,
    total_keys: 6,
    available_keys: 2,
  });
});

test("a window that counts tokens is no capacity in calls", async () => {
  const { keyGroupsToPool } = await import("../../src/gateway/key-groups-to-pool.ts");
  expect(keyGroupsToPool(GROUPS)).toEqual({ ...POOL, total_capacity_qps: 15, available_capacity_qps: 5 });
});

test("the scheduler's figures with the pool beside them, plain and in the envelope", async () => {
  const world = await gatewayWorld();
  await seed(world, GROUPS.slice(0, 4));
  const gateway = await world.start();
  const expected = {
    scheduler: {
      tasks_received: 14_238,
      tasks_processed: 11_904 + 1_876 + 14 + 62 + 368,
      tasks_succeeded: 11_904 + 1_876,
      tasks_failed: 14,
      tasks_expired: 62,
      tasks_superseded: 368,
      tasks_retried: 21,
      average_llm_latency_ms: 1_250,
      queue_size: 2,
      max_workers: 2,
    },
    api_key_pool: { ...POOL, total_keys: 6, available_keys: 2 },
  };
  expect(await get(`${gateway.url()}/scheduler/stats`)).toEqual({ status: 200, body: expected });
  expect(await get(`${gateway.url()}/api/scheduler/stats`)).toEqual({
    status: 200,
    body: { code: 200, msg: "OK", data: expected },
  });
  await world.store.kill("SIGKILL");
  await eventually(async () => (await get(`${gateway.url()}/scheduler/stats`)).body).toMatchObject({
    error: { code: "STORE_AWAY" },
  });
  expect((await get(`${gateway.url()}/api-key-pool/health`)).body).toEqual(expected.api_key_pool);
});

test("health, and the doors: looking only, known hosts only, the token where the gateway is not on loopback", async () => {
  const world = await gatewayWorld();
  const gateway = await world.start();
  expect(await get(`${gateway.url()}/health/health_check`)).toEqual({
    status: 200,
    body: { status: "ok", service: "algo", version: "9.8.7" },
  });
  const { body } = await get(`${gateway.url()}/api/health/health_check`);
  expect(body).toEqual({
    code: 200,
    msg: "OK",
    data: {
      ...{ status: "ok", service: "algo", version: "9.8.7", timestamp: expect.stringMatching(/^\d{4}-.*Z$/) },
      environment: { python: "", node: process.version, platform: process.platform, frame_interval: 1.5 },
    },
  });
  const open = await world.start({ host: "0.0.0.0" });
  const paths = ["/health/health_check", "/api/health/health_check", "/api-key-pool/health", "/scheduler/stats"];
  for (const path of [...paths, "/api/scheduler/stats"]) {
    const changing = await get(`${gateway.url()}${path}`, { method: "POST" });
    expect([path, changing.status]).toEqual([path, 403]);
    const locked = await get(`${open.url()}${path}`);
    expect([path, locked.status, locked.body.error]).toEqual([
      path,
      403,
      expect.objectContaining({ code: "NO_PERMISSION" }),
    ]);
  }
});
