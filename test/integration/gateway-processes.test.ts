/** The gateway's and the results' roles as processes of their own, killed while they work. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { KEYS } from "../../src/names.ts";
import { connectStore } from "../../src/store.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { appendOutcomes, connectClient, quiet, until } from "../support/gateway.ts";
import { freePort, startRedis, type TestRedis } from "../support/redis.ts";
import { resultOf } from "../support/results.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const HOUR_MS = 3_600_000;

interface Scene {
  store: TestRedis;
  redis: Redis;
  start(role: "gateway" | "results", instance: string): Promise<{ child: ChildProcess; url: string }>;
}

async function scene(): Promise<Scene> {
  const store = await startRedis();
  const redis = await connectStore(store.url, quiet);
  const data = mkdtempSync(join(tmpdir(), "vigilane-roles-"));
  onTestFinished(async () => {
    redis.disconnect();
    await rm(data, { recursive: true, force: true });
  });
  return {
    store,
    redis,
    async start(role, instance) {
      const port = await freePort();
      const child = spawn(
        process.execPath,
        [MAIN, role, "--data", data, "--port", String(port), "--redis-url", store.url],
        {
          env: { PATH: process.env.PATH, HOME: data, VIGILANE_INSTANCE: instance },
          stdio: ["ignore", "pipe", "inherit"],
        },
      );
      onTestFinished(() => void child.kill("SIGKILL"));
      let said = "";
      await new Promise<void>((resolve, reject) => {
        child.once("exit", (code) => reject(new Error(`${role} ended (${code}): ${said}`)));
        child.stdout?.on("data", (text: Buffer) => {
          said += text.toString();
          if (said.includes('"msg":"ready"')) resolve();
        });
      });
      return { child, url: `http://127.0.0.1:${port}` };
    },
  };
}

async function kill(child: ChildProcess) {
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

const ids = (count: number) => Array.from({ length: count }, (_, i) => `m${i}_group1`);

test("two gateways, one killed while events come: every client of the other gets all of them", async () => {
  const { redis, start } = await scene();
  const [doomed, other] = await Promise.all([start("gateway", "gateway-1"), start("gateway", "gateway-2")]);
  await connectClient(doomed.url, "/", { reconnection: false });
  const client = await connectClient(other.url);
  const seen: string[] = [];
  client.on("outcome", ({ result }) => seen.push(result.taskId));

  const all = ids(600);
  const appending = (async () => {
    for (const taskId of all) await appendOutcomes(redis, resultOf({ taskId }));
  })();
  await until(client, "outcome", () => seen.length >= 100);
  await kill(doomed.child);
  await appending;
  await until(client, "outcome", () => new Set(seen).size === all.length);

  // Twice only what the killed one had emitted and not yet acknowledged: one reading at most.
  expect(seen.length - all.length).toBeLessThanOrEqual(200);
  await expect.poll(() => redis.xlen(KEYS.shown), { timeout: 10_000 }).toBe(all.length);
});

test("results killed again and again while results come: each is counted and told once", async () => {
  const { store, redis, start } = await scene();
  const topics = createRedisTopicLog(
    { redisUrl: store.url, retentionMs: HOUR_MS, maxBytesPerTopic: 50_000_000 },
    quiet,
  );
  onTestFinished(() => topics.stop());
  await topics.start();
  await topics.ensureTopic(TOPICS.results);
  const publish = (taskIds: readonly string[]) =>
    topics.publish(
      TOPICS.results,
      taskIds.map((taskId, i) => {
        const value = Buffer.from(JSON.stringify(resultOf({ taskId, cameraId: `camera-${i % 8}` })));
        return { key: `camera-${i % 8}`, value };
      }),
    );
  const all = ids(1_500);
  const counted = async () => Number(await redis.hget("vl:outcome-counts", "assessed"));
  for (let round = 0; round < 3; round += 1) {
    const { child } = await start("results", "results-1");
    const part = all.slice(round * 500, (round + 1) * 500);
    const publishing = publish(part);
    await expect.poll(counted, { timeout: 20_000, interval: 2 }).toBeGreaterThan(round * 500 + 20);
    await kill(child);
    await publishing;
  }
  await start("results", "results-1");
  await expect.poll(counted, { timeout: 30_000 }).toBe(all.length);
  const lag = async () => (await topics.lag(TOPICS.results, "vigilane-results")).messages;
  await expect.poll(lag, { timeout: 30_000 }).toBe(0);
  expect(await counted()).toBe(all.length);
  const entries = (await redis.xrange(KEYS.events, "-", "+")) as [string, string[]][];
  const told = entries.flatMap(([, [, type, , json = ""]]) => (type === "outcome" ? [JSON.parse(json).taskId] : []));
  expect(told.toSorted()).toEqual(all.toSorted());
});
