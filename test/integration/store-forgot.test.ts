/**
 * A store that came back without its newest writes, or without any: no call is forgotten for good, and the roles go on.
 */
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import { SpentLately } from "../../src/queues/spent-lately.ts";
import { bindToRun, putBack } from "../../src/queues/store-forgot.ts";
import { startPipeline } from "../support/pipeline.ts";
import { startRedis, type TestRedisOptions } from "../support/redis.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

const KEY = { keyGroup: "group-a", keyId: "key-1" };
const MINUTE = { name: "requestsPerMinute", limit: 8, windowMs: 60_000 };
const LOG = "{vl}:window:group-a:requests:sliding:60000";
/** How long the groups stay closed. */
const CLOSED_MS = 3_000;

async function setUp(options: TestRedisOptions) {
  const store = await startRedis(options);
  const redis = new Redis(store.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  redis.on("error", () => {});
  onTestFinished(() => redis.disconnect());
  const lately = new SpentLately();
  const quota = createQuota(redis, systemClock, lately);
  const room = createWaitingRoom(redis, { maxWaiting: 1_000 });
  const group = aKeyGroup({ windows: [MINUTE] });
  const register = async (changed: boolean) => {
    await bindToRun(redis, options.appendfsync !== "always", changed);
    await quota.register([group], LIVES);
    await quota.hold([KEY], 60_000);
  };
  await register(false);
  const admit = (count: number) =>
    room.admit(Array.from({ length: count }, (_, n) => anArrival({ cameraId: `camera-${n}`, freshnessSeconds: 0 })));
  const spendAll = (taken: Taken[]) => Promise.all(taken.map((one) => quota.spend(one, "w:1", 5_000, false)));
  /** Everything that can be taken and spent now. */
  const call = async (most: number) => {
    const { taken } = await quota.take(most);
    expect((await spendAll(taken)).map(({ kind }) => kind)).toEqual(taken.map(() => "granted"));
    return taken.length;
  };
  return { store, redis, lately, quota, register, admit, call };
}

/** What is taken as soon as the groups are open again. */
async function afterClosure({ quota, call }: Awaited<ReturnType<typeof setUp>>): Promise<number> {
  const { taken, waitMs } = await quota.take(1);
  expect(taken).toEqual([]);
  expect(waitMs).toBeGreaterThan(CLOSED_MS / 2);
  await systemClock.sleep(waitMs ?? 0);
  return call(100);
}

test("calls that the store has forgotten are put back, those that it knows are not doubled, and until then nobody calls", async () => {
  const here = await setUp({ appendfsync: "everysec" });
  const { store, redis, lately, admit, call } = here;
  await admit(20);
  expect(await call(2)).toBe(2);
  await admit(0); // one more write, so that the spending before it is whole in the file
  const written = store.written();
  expect(await call(3)).toBe(3);
  await store.dieAsOf(written);
  await store.restart();
  expect(await redis.zcard(LOG)).toBe(2);
  await putBack(redis, lately, systemClock.monotonicMs());
  await putBack(redis, lately, systemClock.monotonicMs()); // as after a broken connection
  expect(await redis.zcard(LOG)).toBe(5);
  expect(await afterClosure(here)).toBe(MINUTE.limit - 5);
});

test("a verdict that the store has forgotten is told again, and its task is not judged twice", async () => {
  const here = await setUp({ appendfsync: "everysec" });
  const { store, redis, lately, quota, admit } = here;
  await admit(1);
  const [one] = (await quota.take(1)).taken;
  if (!one) throw new Error("nothing was taken");
  expect((await quota.spend(one, "w:1", 5_000, false)).kind).toBe("granted");
  await admit(0);
  const written = store.written();
  const verdict = { riskLevel: "low" };
  const feedback = { ...KEY, called: true, ok: true, latencyMs: 5 };
  await quota.settle(one, { kind: "assessed", verdict, meta: {} }, feedback);
  await store.dieAsOf(written);
  await store.restart();
  const record = `{vl}:task:${one.taskId}`;
  expect(await redis.hmget(record, "s", "o")).toEqual(["calling", null]);
  for (const _ of ["once", "and again"]) {
    await putBack(redis, lately, systemClock.monotonicMs());
    expect(await redis.hmget(record, "s", "o")).toEqual(["done", "assessed"]);
    expect(await redis.xlen("{vl}:outbox")).toBe(1);
    expect(await redis.hget("{vl}:group:group-a", "ok")).toBe("1");
  }
});

test("in a store that has forgotten even the key groups they wait for their registration", async () => {
  const here = await setUp({ appendonly: false });
  const { store, redis, lately, register, admit, call } = here;
  await admit(5);
  expect(await call(5)).toBe(5);
  await store.restart();
  await expect(putBack(redis, lately, systemClock.monotonicMs())).rejects.toThrow(/not registered/);
  await register(true);
  await putBack(redis, lately, systemClock.monotonicMs());
  await admit(20);
  expect(await afterClosure(here)).toBe(MINUTE.limit - 5);
});

test("a store that syncs each write goes on calling at once after its restart", async () => {
  const { store, redis, lately, admit, call } = await setUp({ appendfsync: "always" });
  await admit(20);
  expect(await call(5)).toBe(5);
  await store.kill("SIGKILL");
  await store.restart();
  await putBack(redis, lately, systemClock.monotonicMs());
  expect(await redis.zcard(LOG)).toBe(5);
  expect(await call(100)).toBe(MINUTE.limit - 5);
});

test("bridge and worker go on in a store of somebody's own that comes back empty", async () => {
  const pipeline = await startPipeline({ redis: { appendonly: false } });
  onTestFinished(() => pipeline.stop());
  await pipeline.outcomes(await pipeline.offer(2));
  await pipeline.redis.restart();
  const ids = await pipeline.offer(2);
  const outcomes = await pipeline.outcomes(ids, 30_000);
  expect(ids.map((id) => outcomes.get(id)?.map(({ outcome }) => outcome))).toEqual([["assessed"], ["assessed"]]);
});
