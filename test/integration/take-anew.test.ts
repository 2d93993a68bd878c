/** What a take does where windows are changed under it, and where none of the waiting tasks suits the groups that are free. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { KeyGroup } from "../../src/queues/key-groups.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

let server: TestRedis;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis({ appendonly: false });
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
beforeEach(() => redis.flushall());

const DAY_MS = 86_400_000;

async function use(groups: readonly KeyGroup[]) {
  const quota = createQuota(redis, systemClock);
  await quota.register(groups, LIVES);
  await quota.hold(
    groups.flatMap((group) => group.keys.map(({ id }) => ({ keyGroup: group.id, keyId: id }))),
    600_000,
  );
  return quota;
}

const admit = (count: number, over: (i: number) => object = () => ({})) =>
  createWaitingRoom(redis, { maxWaiting: 10_000 }).admit(
    Array.from({ length: count }, (_, i) => anArrival({ freshnessSeconds: 0, ...over(i) })),
  );

test.each([
  ["its own", (limit: number) => ({ name: "requestsPerDay", limit, windowMs: DAY_MS })],
  ["one shared by all", (limit: number) => ({ name: "@callsPerDay", limit, windowMs: DAY_MS })],
])("a raised limit of a full day's window, %s, is used at once", async (_, window) => {
  await admit(5);
  const full = await use([aKeyGroup({ windows: [window(2)] })]);
  expect((await full.take(10)).taken).toHaveLength(2);
  const { waitMs } = await full.take(10);
  expect(waitMs).toBeGreaterThan(DAY_MS / 2);
  expect((await (await use([aKeyGroup({ windows: [window(4)] })])).take(10)).taken).toHaveLength(2);
});

test("a group that was switched on while no bridge ran is called at once", async () => {
  await admit(1);
  const off = await use([aKeyGroup({ keys: [] })]);
  expect((await off.take(1)).taken).toEqual([]);
  expect((await (await use([aKeyGroup()])).take(1)).taken).toHaveLength(1);
});

test("tasks that none of many free groups can judge in time are looked at once a take, and the next one that comes is told of", async () => {
  const quota = await use(Array.from({ length: 70 }, (_, i) => aKeyGroup({ id: `g${i}` })));
  for (let i = 0; i < 70; i += 1)
    await redis.hset(`{vl}:group:g${i}`, { median: 9_000, medianAt: Date.now() + 60_000 });
  await admit(192, (i) => ({ cameraId: `camera-${i % 64}`, freshnessSeconds: 8 }));
  const commandsOf = async (command: string) =>
    Number(/calls=(\d+)/.exec((await redis.info("commandstats")).split(`cmdstat_${command}:`)[1] ?? "")?.[1] ?? 0);
  await quota.take(32);
  await redis.config("RESETSTAT");
  const { taken, waitMs } = await quota.take(32);
  expect(taken).toEqual([]);
  expect(waitMs).toBeGreaterThanOrEqual(50);
  expect(await commandsOf("zrevrange")).toBe(64); // each camera's line, not each once a group
  expect(await commandsOf("hmget")).toBeLessThan(192 + 70 * 6);

  // One of them is quicker, and the last to be asked.
  await redis.hset("{vl}:group:g69", "median", 1_000);
  expect((await quota.take(1)).taken).toMatchObject([{ keyGroup: "g69" }]);
  await redis.hset("{vl}:group:g69", "median", 9_000);
  await quota.take(1);

  const listener = redis.duplicate();
  await listener.subscribe("{vl}:wake");
  const told = new Promise((resolve) => listener.once("message", resolve));
  await admit(1);
  await told;
  listener.disconnect();
  expect((await quota.take(32)).taken).toHaveLength(1);
});
