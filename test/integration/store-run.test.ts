/** What must be told to a store that came back is told until it has been, however often that fails. */
import { Redis } from "ioredis";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { SpentLately } from "../../src/queues/spent-lately.ts";
import { putBack } from "../../src/queues/store-forgot.ts";
import { followRun } from "../../src/store-run.ts";
import { startRedis } from "../support/redis.ts";
import { aKeyGroup, LIVES } from "../support/tasks.ts";

async function followed(onForgot: (run: string) => Promise<void>) {
  const store = await startRedis({ appendonly: false });
  const redis = new Redis(store.url, { maxRetriesPerRequest: null, retryStrategy: () => 20 });
  redis.on("error", () => {});
  const stop = new AbortController();
  onTestFinished(() => {
    stop.abort();
    redis.disconnect();
  });
  const slept: number[] = [];
  const clock = { ...systemClock, sleep: async (ms: number) => void slept.push(ms) };
  const run = await followRun(redis, { clock, log: pino({ level: "silent" }) }, stop.signal, onForgot);
  return { store, run, slept };
}

test("a repair that fails sixty times is tried again, ever more slowly", async () => {
  const { promise: told, resolve } = Promise.withResolvers<string>();
  let tries = 0;
  const { store, run, slept } = await followed(async (now) => {
    tries += 1;
    if (tries <= 60) throw new Error("the store is full");
    resolve(now);
  });
  const before = run.id();
  await store.restart();
  expect(await told).toBe(run.id());
  expect(run.id()).not.toBe(before);
  expect(slept).toHaveLength(60);
  expect(slept.slice(0, 40)).toEqual(Array(40).fill(250));
  expect(slept.slice(40, 43)).toEqual([500, 1_000, 2_000]);
  expect(slept.at(-1)).toBe(10_000);
});

test("of two returns the later one's repair goes on alone", async () => {
  const tried: string[] = [];
  const second = Promise.withResolvers<void>();
  const first = Promise.withResolvers<void>();
  const { store, run } = await followed(async (now) => {
    tried.push(now);
    if (tried.length === 3) first.resolve();
    if (now !== tried[0] && tried.filter((one) => one === now).length === 20) second.resolve();
    await systemClock.sleep(1);
    throw new Error("the store is full");
  });
  await store.restart();
  await first.promise;
  await store.restart();
  await second.promise;
  expect(tried.slice(-10)).toEqual(Array(10).fill(run.id()));
});

test("a worker waits for groups that are to be registered, not for those that were removed", async () => {
  const store = await startRedis({ appendonly: false });
  const redis = new Redis(store.url);
  onTestFinished(() => redis.disconnect());
  const nowMs = Date.now();
  const spent = (keyGroup: string, agoMs: number) => {
    const lately = new SpentLately();
    lately.spent({ keyGroup, taskId: "t_group1", epoch: 1 }, String(nowMs - agoMs), 1_000, 0);
    return putBack(redis, lately, 0);
  };
  await expect(spent("group-a", 70_000)).rejects.toThrow("not registered yet");
  await createQuota(redis, systemClock).register([aKeyGroup()], LIVES);
  await spent("group-a", 0);
  await expect(spent("group-b", 0)).rejects.toThrow("not registered yet");
  await spent("group-b", 70_000);
});
