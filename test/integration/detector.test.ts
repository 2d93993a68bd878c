/** The detector as a whole: real footage, real ffmpeg, real model, real store. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoCameras } from "../../src/detector/demo-cameras.ts";
import { createCameraDetector } from "../../src/detector/detector.ts";
import { createFfmpegSources } from "../../src/detector/ffmpeg-frame-source.ts";
import { createInferencePool } from "../../src/detector/inference-pool.ts";
import { readPreview } from "../../src/gateway/live-pictures.ts";
import { CameraStatus, Detection } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { connectStore } from "../../src/store.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { TOPICS, type TopicMessage } from "../../src/topics/topic-log.ts";
import { quiet, testFfmpeg, testFootage, testModel } from "../support/detector-assets.ts";
import { createMemoryImageStore } from "../support/memory-image-store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

let store: TestRedis;
let ffmpeg: string;
let footage: string;

beforeAll(async () => {
  [store, ffmpeg, footage] = await Promise.all([startRedis(), testFfmpeg(), testFootage()]);
}, 300_000);
afterAll(() => store.stop());

test("four demo cameras: a message a look, crops, previews at once, states", { timeout: 60_000 }, async () => {
  const redis = await connectStore(store.url, quiet);
  const topics = createRedisTopicLog({ redisUrl: store.url, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28 }, quiet);
  await topics.start();
  await topics.ensureTopic(TOPICS.detections);
  const images = createMemoryImageStore();
  const pool = createInferencePool(await testModel(), quiet);
  const cameras = demoCameras(footage);
  const detector = createCameraDetector(
    {
      instance: "detector-1",
      cameras,
      defaultIntervalMs: 1000,
      pool,
      sources: createFfmpegSources(ffmpeg, quiet),
      topics,
      images,
      redis,
    },
    quiet,
  );
  const previews: { latencyMs: number; cameraId: string; objects: number; jpegBytes: number }[] = [];
  const subscriber = new Redis(store.url);
  await subscriber.subscribe(...cameras.map(({ id }) => KEYS.preview(id)));
  subscriber.on("messageBuffer", (_channel: Buffer, message: Buffer) => {
    const preview = readPreview(message);
    if (!preview) throw new Error("an unreadable preview");
    const { header, jpeg } = preview;
    const latencyMs = quiet.clock.nowMs() - header.capturedAtMs;
    previews.push({ latencyMs, cameraId: header.cameraId, objects: header.objects.length, jpegBytes: jpeg.length });
  });
  await detector.start();
  const detections = await take(topics.tail(TOPICS.detections, "earliest", AbortSignal.timeout(50_000)), 40);
  const statuses = Object.values(await redis.hgetall(KEYS.cameras)).map((json) => CameraStatus.parse(JSON.parse(json)));
  await detector.stop();
  const after = Object.values(await redis.hgetall(KEYS.cameras)).map((json) => CameraStatus.parse(JSON.parse(json)));
  subscriber.disconnect();
  await topics.stop();
  redis.disconnect();

  const parsed = detections.map(({ value }) => Detection.parse(JSON.parse(value.toString())));
  expect(new Set(parsed.map(({ messageId }) => messageId)).size).toBe(40);
  expect(new Set(parsed.map(({ cameraId }) => cameraId))).toEqual(new Set(cameras.map(({ id }) => id)));
  expect(parsed.flatMap(({ detectedObjects }) => detectedObjects).length).toBeGreaterThan(100);
  const groups = parsed.flatMap((detection) => detection.trafficGroups);
  expect(groups.length).toBeGreaterThan(10);
  for (const { trafficGroups, groupImages } of parsed) {
    expect(groupImages.map(({ groupIndex }) => groupIndex)).toEqual(trafficGroups.map(({ groupIndex }) => groupIndex));
    for (const { imageUrl } of groupImages) expect(images.images.get(imageUrl ?? "")?.subarray(0, 2)).toEqual(JPEG);
  }
  expect(previews.length).toBeGreaterThan(8);
  expect(Math.min(...previews.map(({ jpegBytes }) => jpegBytes))).toBeGreaterThan(5_000);
  const sorted = previews.map(({ latencyMs }) => latencyMs).sort((p, q) => p - q);
  expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThan(1_000);
  expect(statuses.map(({ state }) => state)).toEqual(["online", "online", "online", "online"]);
  expect(after.map(({ state }) => state)).toEqual(["offline", "offline", "offline", "offline"]);
});

const JPEG = Buffer.from([0xff, 0xd8]);

async function take(messages: AsyncIterable<TopicMessage>, count: number): Promise<TopicMessage[]> {
  const taken: TopicMessage[] = [];
  for await (const message of messages) if (taken.push(message) === count) break;
  return taken;
}
