/** The older system's Redis contracts (§ "Redis keys" of docs/compatibility.md): who writes which, when, and with what. */
import type { Redis } from "ioredis";
import sharp from "sharp";
import { expect, onTestFinished, test } from "vitest";
import { DetectionOutbox, type OutboxOptions } from "../../src/detector/detection-outbox.ts";
import { createOlderDetectionKeys } from "../../src/detector/older-detection-key.ts";
import { Detection } from "../../src/messages.ts";
import { readResult } from "../../src/read-result.ts";
import { createOlderFrames } from "../../src/results/older-frames.ts";
import { createResults } from "../../src/roles/results.ts";
import type { Settings } from "../../src/settings.ts";
import { type Beside, connectBeside, connectStore } from "../../src/store.ts";
import { type OutgoingMessage, TOPICS } from "../../src/topics/topic-log.ts";
import { createMemoryImageStore } from "../support/memory-image-store.ts";
import { olderDetection, olderGroup, pythonJson, utcnow } from "../support/older-messages.ts";
import { crop, silent, startPipeline } from "../support/pipeline.ts";
import { startRedis } from "../support/redis.ts";
import { resultOf } from "../support/results.ts";

const bbox = (x: number): [number, number, number, number] => [x, 10, x + 100, 90];

/** What our detector has of a frame of two groups before it is sent. */
function parcel(messageId: string, crops = [1, 2].map((groupIndex) => ({ groupIndex, jpeg: crop }))) {
  const now = new Date().toISOString();
  const group = (groupIndex: number) => ({
    ...{ groupIndex, objectCount: 2, bbox: bbox(200 * groupIndex), classes: ["car", "person"], averageConfidence: 0.9 },
    memberIndices: [2 * groupIndex - 2, 2 * groupIndex - 1],
  });
  const detectedObjects = [1, 2, 3, 4].map((trackId) => ({
    ...{ class: trackId % 2 ? "car" : "person", confidence: 0.9, bbox: bbox(100 * trackId), trackId },
  }));
  const detection = {
    ...{ messageId, cameraId: "north-gate", timestamp: now, capturedAt: now, imageWidth: 640, imageHeight: 360 },
    ...{ detectedObjects, trafficGroups: [group(1), group(2)], groupImages: [] },
  };
  return { detection, crops };
}

/** Our detector's way out, to `publish`. */
function outboxTo(publish: (messages: readonly OutgoingMessage[]) => Promise<void>, options: OutboxOptions) {
  const images = createMemoryImageStore();
  const outbox = new DetectionOutbox({ publish: (_topic, messages) => publish(messages) }, images, silent, options);
  const ended = new AbortController();
  const running = outbox.run(ended.signal);
  onTestFinished(async () => {
    ended.abort();
    await running;
  });
  return { outbox, images };
}

async function olderRedis(): Promise<{ url: string; redis: Redis }> {
  const { url } = await startRedis({ appendonly: false });
  const redis = await connectStore(url, silent);
  onTestFinished(() => redis.disconnect());
  return { url, redis };
}

async function besides(url: string): Promise<Beside> {
  const beside = connectBeside(url, silent);
  onTestFinished(() => beside.disconnect());
  await expect.poll(() => beside.ask((redis) => redis.ping())).toBe("PONG");
  return beside;
}

async function world(settings: Partial<Settings>) {
  const started = await startPipeline({ settings: { freshnessSeconds: 0, ...settings } });
  onTestFinished(() => started.stop());
  return started;
}

test("detection:<messageId> is there before its message is, in the older pipeline's form, for 300 s", async () => {
  const { url, redis } = await olderRedis();
  const beside = await besides(url);
  const { promise, resolve } = Promise.withResolvers<(string | null)[]>();
  const { outbox } = outboxTo(async () => resolve(await redis.mget("detection:m-1", "detection:m-2")), {
    olderKeys: createOlderDetectionKeys(beside),
  });
  outbox.offer(parcel("m-1"));
  outbox.offer(parcel("m-2"));
  const [first, second] = (await promise).map((text) => JSON.parse(text ?? "null") as Record<string, unknown>);
  expect(Object.keys(first ?? {}).toSorted()).toEqual([
    "cameraId",
    "detectedObjects",
    "groupImages",
    "imageHeight",
    "imageWidth",
    "messageId",
    "timestamp",
    "trafficGroups",
  ]);
  expect([first?.messageId, second?.messageId]).toEqual(["m-1", "m-2"]);
  expect(first?.groupImages).toMatchObject(
    [1, 2].map((groupIndex) => ({
      ...{ groupIndex, objectCount: 2, classes: ["car", "person"], bbox: bbox(200 * groupIndex), riskLevel: "none" },
      ...{ imageBase64: crop.toString("base64"), dataUri: `data:image/jpeg;base64,${crop.toString("base64")}` },
      ...{ imageWidth: 124, imageHeight: 102, memberIndices: [2 * groupIndex - 2, 2 * groupIndex - 1] },
    })),
  );
  expect(await redis.ttl("detection:m-1")).toBeGreaterThan(290);
});

test("the older Redis away, or hanging: detections go out all the same", async () => {
  const store = await startRedis({ appendonly: false });
  const beside = await besides(store.url);
  const sent: string[] = [];
  let told = () => {};
  const publish = (messages: readonly OutgoingMessage[]) => {
    sent.push(...messages.map(({ value }) => Detection.parse(JSON.parse(value.toString())).messageId));
    told();
    return Promise.resolve();
  };
  const { outbox } = outboxTo(publish, { olderKeys: createOlderDetectionKeys(beside) });
  const goesOut = async (id: string) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    told = resolve;
    outbox.offer(parcel(id));
    await promise;
    expect(sent.at(-1)).toBe(id);
  };
  await store.kill("SIGSTOP");
  const beganMs = performance.now();
  for (let n = 0; n < 10; n += 1) await goesOut(`hangs-${n}`); // asked once, and then left alone for a while
  expect(performance.now() - beganMs).toBeLessThan(1_500);
  await store.kill("SIGKILL");
  await goesOut("away");
});

test("inline images: crops stand in our detector's messages, as far as they fit, and the bridge judges both kinds", async () => {
  const { topics, outcomes } = await world({});
  const messages: OutgoingMessage[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const { outbox, images } = outboxTo(
    async (some) => {
      messages.push(...some);
      await topics.publish(TOPICS.detections, some);
      resolve();
    },
    { inlineImages: true },
  );
  outbox.offer(parcel("small"));
  await promise;
  const [small] = messages.map(({ value }) => Detection.parse(JSON.parse(value.toString())));
  for (const image of small?.groupImages ?? []) {
    expect(image).toMatchObject({ objectCount: 2, classes: ["car", "person"] });
    expect(await sharp(Buffer.from(image.imageBase64 ?? "", "base64")).metadata()).toMatchObject({ format: "jpeg" });
  }
  expect([small?.groupImages.length, images.images.size]).toEqual([2, 0]);
  const judged = await outcomes(["small_group1", "small_group2"]);
  expect([...judged.values()].map(([result]) => result?.outcome)).toEqual(["assessed", "assessed"]);

  const huge = Buffer.concat([crop, Buffer.alloc(700_000)]);
  outbox.offer(
    parcel("large", [
      { groupIndex: 1, jpeg: huge },
      { groupIndex: 2, jpeg: crop },
    ]),
  );
  await expect.poll(() => messages.length).toBe(2);
  const large = Detection.parse(JSON.parse(String(messages[1]?.value)));
  expect(messages[1]?.value.length).toBeLessThan(1_000_000);
  expect(large.groupImages.map((image) => [image.imageUrl !== undefined, image.imageBase64 !== undefined])).toEqual([
    [true, false],
    [false, true],
  ]);
});

test("a re-used verdict waits until the older pipeline has written detection:<id>; without that key 500 ms at most", async () => {
  const { url, redis } = await olderRedis();
  const pipeline = await world({ reuseSeconds: 60, olderConsumers: true, olderRedisUrl: url });
  const same = async (messageId: string, written: boolean) => {
    if (written) await redis.set(`detection:${messageId}`, "{}", "EX", 300);
    const objects = { trafficGroups: [olderGroup(1, [0, 1])], detectedObjects: parcel("").detection.detectedObjects };
    const image = { groupIndex: 1, imageBase64: crop.toString("base64"), imageHash: "0123456789abcdef" };
    const detection = olderDetection({ messageId, cameraId: 5, ...objects, groupImages: [image] });
    await pipeline.publish([{ key: "5", value: Buffer.from(pythonJson(detection)) }]);
  };
  const resultFor = async (id: string) => (await pipeline.outcomes([`${id}_group1`])).get(`${id}_group1`)?.[0];
  await same("judged", false);
  expect(await resultFor("judged")).toMatchObject({ outcome: "assessed" }); // a call takes longer than that write
  await same("written", true);
  const quick = await resultFor("written");
  await same("never", false);
  const late = await resultFor("never");
  const heldMs = (result: typeof late) =>
    (result?.metadata.timings.publishedAt ?? 0) - (result?.metadata.timings.completedAt ?? 0);
  expect([quick?.outcome, late?.outcome]).toEqual(["reused", "reused"]);
  expect(heldMs(late)).toBeGreaterThanOrEqual(500);
  expect(heldMs(late)).toBeLessThan(1_500);
  expect(heldMs(quick)).toBeLessThan(heldMs(late));

  // Written while the verdict waits: it comes after that. On a machine that is slower than the 500 ms it is tried again.
  const store = await connectStore(pipeline.redis.url, silent);
  onTestFinished(() => store.disconnect());
  for (let nth = 1; ; nth += 1) {
    await same(`during-${nth}`, false);
    await expect.poll(() => store.xlen("{vl}:outbox"), { interval: 5 }).toBe(1);
    const [seconds, micros] = await store.time();
    await redis.set(`detection:during-${nth}`, "{}", "EX", 300);
    const after = await resultFor(`during-${nth}`);
    if (heldMs(after) >= 500 && nth < 5) continue;
    expect(heldMs(after)).toBeLessThan(500);
    const writtenMs = Number(seconds) * 1_000 + Number(micros) / 1_000;
    expect(after?.metadata.timings.publishedAt).toBeGreaterThanOrEqual(writtenMs);
    break;
  }
});

test("in the aggregator's place: a frame with all its verdicts under camera:<id>:latest, and to camera:<id>", async () => {
  const { url, redis } = await olderRedis();
  const pipeline = await world({ olderRedis: "all", olderRedisUrl: url });
  const results = createResults(pipeline.settings, silent);
  onTestFinished(() => results.stop());
  await results.start();
  const listener = redis.duplicate();
  onTestFinished(() => listener.disconnect());
  const heard: Record<string, unknown>[] = [];
  listener.on("message", (_channel, text: string) => heard.push(JSON.parse(text) as Record<string, unknown>));
  await listener.subscribe("camera:5");

  // One group without picture: it has a result too, and the frame is whole.
  const detection = olderDetection({ cameraId: 5, trafficGroups: [1, 2, 3].map((i) => olderGroup(i, [0, 1])) });
  await redis.set(`detection:${detection.messageId}`, JSON.stringify(detection), "EX", 300);
  await pipeline.publish([{ key: "5", value: Buffer.from(pythonJson(detection)) }]);
  await expect.poll(() => heard.length, { timeout: 20_000 }).toBe(1);
  const [merged] = heard;
  expect(merged).toMatchObject({
    ...{ messageId: detection.messageId, cameraId: 5, imageWidth: 1920, hasDangerousDriving: expect.any(Boolean) },
    riskAssessment: { resultCount: 3, groupCount: 3, allGroupResults: expect.any(Array) },
    ...{ maxRiskLevel: expect.stringMatching(/^(none|low|medium|high)$/), llmModel: "simulated-vision" },
  });
  const said = merged?.riskAssessment as { allGroupResults: { groupIndex: number }[] } | undefined;
  expect(said?.allGroupResults.map(({ groupIndex }) => groupIndex).toSorted()).toEqual([1, 2]);
  expect(merged?.llmLatency).toBeGreaterThan(0);
  expect(JSON.parse((await redis.get("camera:5:latest")) ?? "")).toEqual(merged);
  expect(await redis.ttl("camera:5:latest")).toBeGreaterThan(290);

  // Without the key: each group alone, and nothing kept.
  const lone = olderDetection({ cameraId: 5 });
  await pipeline.publish([{ key: "5", value: Buffer.from(pythonJson(lone)) }]);
  await expect.poll(() => heard.length, { timeout: 20_000 }).toBe(3);
  for (const one of heard.slice(1))
    expect(one).toMatchObject({ cameraId: 5, riskAssessment: { resultCount: 1, warning: expect.any(String) } });
  expect(JSON.parse((await redis.get("camera:5:latest")) ?? "")).toEqual(merged);
});

test("a dangerous frame is an alert, told once however often its results come; the newest hundred are kept", async () => {
  const { url, redis } = await olderRedis();
  const beside = await besides(url);
  const frames = createOlderFrames(beside);
  for (let n = 0; n < 102; n += 1) {
    await redis.set(`detection:m${n}`, JSON.stringify({ messageId: `m${n}`, trafficGroups: [{}, {}] }));
    const results = (["high", "low"] as const).map((riskLevel, i) =>
      resultOf({ taskId: `m${n}_group${i + 1}`, cameraId: 5, riskLevel }),
    );
    await frames.take(resultOf({ taskId: `m${n}_group1`, cameraId: 5, revision: 2 })); // a retry by hand is no message of theirs
    for (const result of [results[0], results[0], results[1], results[1], results[0]])
      if (result) await frames.take(result);
  }
  const alerts = (await redis.lrange("alerts:5", 0, -1)).map((text) => JSON.parse(text) as Record<string, unknown>);
  expect(alerts.map(({ messageId }) => messageId)).toEqual(Array.from({ length: 100 }, (_, i) => `m${101 - i}`));
  expect(alerts[0]).toMatchObject({
    hasDangerousDriving: true,
    maxRiskLevel: "high",
    llmModel: "sim-vl",
    llmLatency: 0.3,
  });
});

test("what an older scheduler answers to handed-over tasks is a result like ours; nothing of it is a dead letter", async () => {
  const { topics, settings } = await world({ assessmentTasks: "write" });
  const results = createResults(settings, silent);
  onTestFinished(() => results.stop());
  await results.start();
  const base = { messageId: "m", requestId: "r", cameraId: 5, timestamp: utcnow(), groupIndex: 1 };
  const metadata = { llmLatency: 1.25, llmModel: "qwen-vl-plus", apiKeyId: "key-001", retryCount: 0 };
  const verdict = { groupIndex: 1, riskLevel: "high", confidence: 0.9, riskTypes: ["人车冲突"], description: "近" };
  const entry = { ...verdict, dangerObjectCount: null, triggerObjectIds: [] };
  const answers = [
    { ...base, results: [entry], metadata },
    { ...base, groupIndex: 2, results: [{ ...entry, confidence: Number.NaN }], metadata },
    { ...base, groupIndex: 3, results: [], error: "HTTP 500: x", metadata: { ...metadata, apiKeyId: null } },
    { ...base, groupIndex: 4, results: [], metadata },
    { ...base, groupIndex: 5, results: [{ ...entry, riskLevel: "terrible" }], metadata },
  ];
  await topics.publish(
    TOPICS.results,
    answers.map((answer) => ({ key: "5", value: Buffer.from(pythonJson(answer)) })),
  );
  await expect.poll(() => results.detail(), { timeout: 20_000 }).toBe("5 results, 0 twice, 0 dead letters");
  const read = answers.map((answer) =>
    readResult({ value: Buffer.from(pythonJson(answer)), appendedAtMs: Date.now() }),
  );
  expect(read).toMatchObject([
    {
      taskId: "r_group1",
      outcome: "assessed",
      results: [{ riskLevel: "high" }],
      metadata: { simulated: false, llmLatency: 1.25 },
    },
    { taskId: "r_group2", outcome: "assessed", results: [{ confidence: 0 }] },
    { taskId: "r_group3", outcome: "failed", results: [], error: { code: "JUDGED_ELSEWHERE", message: "HTTP 500: x" } },
    { taskId: "r_group4", outcome: "failed", error: { message: "neither verdict nor error" } },
    { taskId: "r_group5", outcome: "failed", error: { message: "its verdict cannot be read" } },
  ]);
});
