/** Calls apart from any task, in a real redis-server: they take places in the windows that leases of tasks take. */
import type { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { Quota } from "../../src/queues/quota.ts";
import { type CallsApart, createCallsApart } from "../../src/queues/redis-apart.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import { connectStore } from "../../src/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

const silent = { clock: systemClock, log: pino({ level: "silent" }) };
let server: TestRedis;
let redis: Redis;
let quota: Quota;
let apart: CallsApart;

beforeAll(async () => {
  server = await startRedis();
  redis = await connectStore(server.url, silent);
});
afterAll(async () => {
  redis?.disconnect();
  await server?.stop();
});
beforeEach(async () => {
  await redis.flushall();
  quota = createQuota(redis, systemClock);
  apart = createCallsApart(redis);
  const windows = [
    { name: "minute", limit: 3, windowMs: 60_000 },
    { name: "tokens", limit: 9_000, windowMs: 60_000, unit: "tokens" as const },
  ];
  const group = aKeyGroup({ windows, maxConcurrent: 2 });
  await quota.register([group], LIVES);
  await quota.hold([{ keyGroup: group.id, keyId: group.keys[0]?.id ?? "" }], 60_000);
});
const id = aKeyGroup({}).id;
const used = async () => (await quota.snapshot())[0]?.windows.map((window) => window.used);

test("it takes its place beside those of tasks, settles its tokens, and waits where a window is full", async () => {
  expect(await apart.reserve(id, "one", 300, 5_000)).toEqual({ kind: "granted" });
  expect(await used()).toEqual([1, 300]);
  await apart.end("one", 90);
  expect(await used()).toEqual([1, 90]);

  const room = createWaitingRoom(redis, { maxWaiting: 10 });
  await room.admit([anArrival({ freshnessSeconds: 0 })]);
  expect((await quota.take(5)).taken).toHaveLength(1);
  expect(await apart.reserve(id, "two", 1, 5_000)).toEqual({ kind: "granted" });
  const third = await apart.reserve(id, "three", 1, 5_000);
  expect(third).toEqual({ kind: "wait", ms: expect.any(Number), window: expect.any(String) });
  expect(third.kind === "wait" && third.ms).toBeGreaterThan(0);
  await room.admit([anArrival({ freshnessSeconds: 0 })]);
  expect((await quota.take(5)).taken).toEqual([]);
});

test("a full minute names itself, and nothing was reserved; a group that is not known is no group", async () => {
  for (const name of ["a", "b", "c"]) {
    expect(await apart.reserve(id, name, 1, 5_000)).toEqual({ kind: "granted" });
    // One that never ends (its process died) leaves nothing behind for ever.
    expect(await redis.pttl(`{vl}:lease:apart:${name}`)).toBeGreaterThan(5_000);
    await apart.end(name, undefined);
  }
  const answer = await apart.reserve(id, "d", 1, 5_000);
  expect(answer).toMatchObject({ kind: "wait", window: "minute" });
  expect(answer.kind === "wait" && answer.ms).toBeGreaterThan(50_000);
  expect(await used()).toEqual([3, 3]);
  expect(await apart.reserve("nobody", "e", 1, 5_000)).toEqual({ kind: "unknown" });
});
