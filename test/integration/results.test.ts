import type { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { CameraRisk } from "../../src/events.ts";
import type { AssessmentResult } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { createTotalsReader } from "../../src/results/follow-totals.ts";
import { IMAGES_UNTIL, removeDue } from "../../src/results/image-life.ts";
import { createResultRecorder } from "../../src/results/record-result.ts";
import { createResultsService } from "../../src/results/results.ts";
import { connectStore } from "../../src/store.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { deadLetterTopic, TOPICS } from "../../src/topics/topic-log.ts";
import { MemoryImages, quiet } from "../support/gateway.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { resultOf } from "../support/results.ts";

const HOUR_MS = 3_600_000;

async function connected(store: TestRedis): Promise<Redis> {
  const redis = await connectStore(store.url, quiet);
  onTestFinished(() => redis.disconnect());
  return redis;
}

async function startResults(store: TestRedis) {
  const settings = { redisUrl: store.url, retentionMs: HOUR_MS, maxBytesPerTopic: 10_000_000, shards: 4 };
  const producer = createRedisTopicLog(settings, quiet);
  onTestFinished(() => producer.stop());
  await producer.start();
  await producer.ensureTopic(TOPICS.results);
  const images = new MemoryImages();
  const service = createResultsService(
    {
      redisUrl: store.url,
      topics: createRedisTopicLog(settings, quiet),
      topicNames: [TOPICS.results],
      group: "vigilane-results",
      consumer: "results-1",
      retentionMs: HOUR_MS,
      images,
      imageLimits: { maxBytes: 1e9, maxAgeMs: HOUR_MS },
      countTasks: () => async () => ({ waiting: 3, moving: 1, calling: 2 }),
    },
    quiet,
  );
  onTestFinished(() => service.stop());
  await service.start();
  const publish = (...values: (AssessmentResult | Buffer)[]) =>
    producer.publish(
      TOPICS.results,
      values.map((value) => ({
        key: Buffer.isBuffer(value) ? "north-gate" : String(value.cameraId),
        value: Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value)),
      })),
    );
  return { service, producer, publish };
}

async function events(redis: Redis): Promise<{ type: string; json: string }[]> {
  const entries = (await redis.xrange(KEYS.events, "-", "+")) as [string, string[]][];
  return entries.map(([, [, type = "", , json = ""]]) => ({ type, json }));
}

async function risks(redis: Redis): Promise<Record<string, CameraRisk>> {
  const hash = Object.entries(await redis.hgetall(KEYS.risks));
  return Object.fromEntries(hash.map(([id, json]) => [id, CameraRisk.parse(JSON.parse(json))]));
}

test("each result is kept, told and acknowledged; a result that comes again changes nothing", async () => {
  const store = await startRedis();
  const redis = await connected(store);
  const { service, producer, publish } = await startResults(store);
  const high = resultOf({ taskId: "m2_group1", riskLevel: "high", capturedAt: 2_000 });
  const old = resultOf({ taskId: "m1_group1", riskLevel: "low", capturedAt: 1_000 });
  const numbered = resultOf({ taskId: "m3_group1", cameraId: 7, outcome: "failed", capturedAt: 3_000 });
  await publish(high, old, high, numbered, old);

  const lag = () => producer.lag(TOPICS.results, "vigilane-results");
  await expect.poll(async () => (await lag()).messages, { timeout: 20_000 }).toBe(0);
  expect(await risks(redis)).toMatchObject({
    "north-gate": { riskLevel: "high", capturedAtMs: 2_000, counts: { assessed: 2 }, simulated: true },
    "7": { riskLevel: null, counts: { failed: 1 } },
  });
  const told = await events(redis);
  const outcomes = told.filter(({ type }) => type === "outcome").map(({ json }) => JSON.parse(json).taskId);
  expect(outcomes.toSorted()).toEqual(["m1_group1", "m2_group1", "m3_group1"]);
  expect(told.filter(({ type }) => type === "camera")).toHaveLength(1); // the old one and the failed one changed no risk
  expect((service as { detail(): string }).detail()).toBe("3 results, 2 twice, 0 dead letters");
});

test("what cannot be read goes to the dead letters with its bytes, and the next result is kept", async () => {
  const store = await startRedis();
  const redis = await connected(store);
  const { producer, publish } = await startResults(store);
  const unreadable = Buffer.from([0x7b, 0xff, 0x00]);
  await publish(unreadable, Buffer.from('{"taskId":"x"}'), resultOf({ taskId: "m1_group1" }));
  await expect.poll(async () => Object.keys(await risks(redis)), { timeout: 20_000 }).toEqual(["north-gate"]);

  const letters: Buffer[] = [];
  const done = new AbortController();
  for await (const letter of producer.tail(deadLetterTopic(TOPICS.results), "earliest", done.signal)) {
    letters.push(letter.value);
    if (letters.length === 2) done.abort();
  }
  expect(letters[0]).toEqual(unreadable);
});

test("two processes that take in the same results at once count each once and end in one state", async () => {
  const store = await startRedis();
  const [one, two] = await Promise.all([connected(store), connected(store)]);
  const recorders = [createResultRecorder(one, HOUR_MS), createResultRecorder(two, HOUR_MS)];
  const all = Array.from({ length: 60 }, (_, i) => resultOf({ taskId: `m${i}_group1`, capturedAt: 1_000 + i }));
  const answers = await Promise.all(
    recorders.map(async (recorder, r) => {
      const said: string[] = [];
      for (const result of r === 0 ? all : all.toReversed()) said.push(await recorder.record(result));
      return said;
    }),
  );
  expect(answers.flat().filter((answer) => answer === "recorded")).toHaveLength(all.length);
  expect((await risks(one))["north-gate"]).toMatchObject({ capturedAtMs: 1_059, counts: { assessed: all.length } });
  expect(await events(one).then((told) => told.filter(({ type }) => type === "outcome"))).toHaveLength(all.length);
});

test("totals are read from what has happened", async () => {
  const store = await startRedis();
  const redis = await connected(store);
  const recorder = createResultRecorder(redis, HOUR_MS);
  const reader = createTotalsReader(redis, async () => ({ waiting: 3, moving: 1, calling: 2 }));
  await recorder.record(resultOf({ taskId: "m1_group1" }));
  expect(await reader.read()).toMatchObject({ groups: 7, waiting: 3, inFlight: 3, coverage: 1, endToEndP50Ms: null });

  await recorder.record(resultOf({ taskId: "m2_group1", outcome: "expired" }));
  const timings = JSON.stringify({ capturedAt: 10_000, shownAt: 11_500 });
  await redis.xadd(KEYS.shown, "*", "taskId", "m1_group1", "revision", "1", "outcome", "assessed", "json", timings);
  await redis.xadd(
    KEYS.shown,
    "*",
    "taskId",
    "m0_group1",
    "revision",
    "2",
    "outcome",
    "assessed",
    "json",
    '{"capturedAt":1,"shownAt":9999}',
  );
  expect(await reader.read()).toMatchObject({ groups: 8, coverage: 0.5, endToEndP50Ms: 1_500, endToEndP95Ms: 1_500 });
});

test("crops are deleted when their time is over and not before", async () => {
  const store = await startRedis();
  const redis = await connected(store);
  const images = new MemoryImages();
  const due = await images.put("c", "due", Buffer.from("x"));
  const kept = await images.put("c", "kept", Buffer.from("x"));
  const [seconds] = await redis.time();
  await redis.zadd(IMAGES_UNTIL, Number(seconds) * 1000 - 1, due);
  await redis.zadd(IMAGES_UNTIL, Number(seconds) * 1000 + 60_000, kept);
  expect(await removeDue(redis, images)).toBe(1);
  expect([...images.kept.keys()]).toEqual([kept]);
  expect(await redis.zcard(IMAGES_UNTIL)).toBe(1);
});
