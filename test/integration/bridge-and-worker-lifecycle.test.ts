/** Bridge, worker and the key groups' workers start and stop in every order, and leave nothing, also when a start fails. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { assessmentQueueName, BULLMQ_PREFIX } from "../../src/names.ts";
import { createGroupWorkers, type GroupWorkersParts } from "../../src/processors/group-workers.ts";
import { simulatedKeyGroups } from "../../src/queues/key-groups.ts";
import { createBridge } from "../../src/roles/bridge.ts";
import { createWorker } from "../../src/roles/worker.ts";
import { Settings } from "../../src/settings.ts";
import { silent } from "../support/pipeline.ts";
import { startRedis } from "../support/redis.ts";
import { connectionsTo, failToStart, stressAndLeaveNothing } from "../support/service-stress.ts";
import { aTask } from "../support/tasks.ts";

const data = mkdtempSync(join(tmpdir(), "vigilane-lifecycle-"));
afterAll(() => rmSync(data, { recursive: true, force: true }));

const settingsOf = (redisUrl: string): Settings => ({
  ...Settings.parse({}),
  ...{ data, redisUrl, simulatorUrl: "http://127.0.0.1:9" },
});

/** A store in which this key is of another kind than the role needs, so that its start fails when it comes there. */
async function storeWithout(key: string): Promise<string> {
  const { url } = await startRedis();
  const redis = new Redis(url);
  await redis.set(key, "of the wrong kind");
  redis.disconnect();
  return url;
}

describe.each([
  // Each fails where nearly everything runs by then: the bridge at the groups' registration, the worker at its held keys.
  { name: "bridge", create: createBridge, failsAt: "{vl}:groups" },
  { name: "worker", create: createWorker, failsAt: "{vl}:held" },
])("the $name", ({ create, failsAt }) => {
  test("starts and stops safely: concurrently, twice, before its start, during it", async () => {
    const { url } = await startRedis();
    await stressAndLeaveNothing(
      () => create(settingsOf(url), silent),
      () => connectionsTo(url),
    );
  });

  test("whose start fails late leaves nothing running", async () => {
    const url = await storeWithout(failsAt);
    const why = { message: expect.stringContaining("WRONGTYPE") };
    await failToStart(
      () => create(settingsOf(url), silent),
      why,
      () => connectionsTo(url),
    );
  });
});

test("a bridge refuses a store that may evict, and leaves nothing", async () => {
  const { url } = await startRedis({ args: ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"] });
  await failToStart(
    () => createBridge(settingsOf(url), silent),
    { code: "STORE_UNFIT" },
    () => connectionsTo(url),
  );
});

describe("the key groups' workers", () => {
  const groups = simulatedKeyGroups({}).slice(0, 3);

  async function setup(over: Partial<GroupWorkersParts> = {}) {
    const { url } = await startRedis();
    const redis = new Redis(url, { maxRetriesPerRequest: null });
    onTestFinished(() => redis.disconnect());
    await redis.ping();
    const listeners = new Set<unknown>();
    const parts: GroupWorkersParts = {
      groups,
      redis,
      onWake(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      stirring: async () => groups.map(({ id }) => id),
      leaving: async () => [],
      assess: () => Promise.reject(new Error("there are no jobs")),
      graceMs: 1_000,
      ...over,
    };
    const left = async () => [...[...listeners].map(() => "a listener"), ...(await connectionsTo(url))];
    return { create: () => createGroupWorkers(parts, silent), left, redis };
  }

  test("start and stop in every order, each with its own connections", async () => {
    const { create, left } = await setup();
    await stressAndLeaveNothing(create, left);
  });

  test("jobs that a removed group left in its queue are seen to by whoever looks", async () => {
    const seen = Promise.withResolvers<string>();
    const assess: GroupWorkersParts["assess"] = async ({ data: { task } }) => {
      seen.resolve(task.taskId);
      return { outcome: "sent to the waiting room" };
    };
    const { create, redis } = await setup({ stirring: async () => [], leaving: async () => ["gone"], assess });
    const task = aTask();
    const queue = new Queue(assessmentQueueName("gone"), { connection: redis, prefix: BULLMQ_PREFIX });
    await queue.add("left behind", { task });
    const workers = create();
    onTestFinished(() => workers.stop());
    await workers.start();
    expect(await seen.promise).toBe(task.taskId);
  });

  test("a start that fails leaves nothing", async () => {
    const stirring = () => Promise.reject(new Error("the store does not say"));
    const { create, left } = await setup({ stirring });
    await failToStart(create, { message: "the store does not say" }, left);
  });
});
