/** What the detector promises while the store hangs, while the topic refuses, and at its own stop. */
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { createCameraDetector } from "../../src/detector/detector.ts";
import { CameraEvent } from "../../src/events.ts";
import { CameraStatus, Detection } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { connectStore } from "../../src/store.ts";
import type { OutgoingMessage } from "../../src/topics/topic-log.ts";
import { quiet } from "../support/detector-assets.ts";
import { fakeCameras, fakePool } from "../support/fake-camera.ts";
import { createMemoryImageStore } from "../support/memory-image-store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";

const BOXES = [
  { class: "person", confidence: 0.9, bbox: [100, 100, 130, 180] as [number, number, number, number] },
  { class: "car", confidence: 0.8, bbox: [150, 120, 250, 180] as [number, number, number, number] },
];

let store: TestRedis;
beforeEach(async () => {
  store = await startRedis({ appendonly: false });
});

async function setup(publish: (messages: readonly OutgoingMessage[]) => Promise<void>) {
  const redis = await connectStore(store.url, quiet, { maxRetriesPerRequest: 0, enableOfflineQueue: false });
  onTestFinished(() => redis.disconnect());
  const cameras = fakeCameras();
  const pool = fakePool(BOXES);
  const images = createMemoryImageStore();
  const detector = createCameraDetector(
    {
      instance: "detector-1",
      cameras: [
        { id: "a", source: "-" },
        { id: "b", source: "-" },
      ],
      defaultIntervalMs: 1000,
      pool,
      sources: cameras.sources,
      topics: { publish: (_topic, messages) => publish(messages), publishedAgain: () => 0 },
      images,
      redis,
    },
    quiet,
  );
  onTestFinished(() => detector.stop());
  await detector.start();
  /** Frames one after the other, each looked at before the next. */
  const feed = async (count: number, startMs = 1_000) => {
    for (let i = 0; i < count; i += 1) {
      for (const id of ["a", "b"]) cameras.frame(id, startMs + i * 1000);
      while (cameras.lent > 0) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { redis, cameras, pool, images, detector, feed };
}

const parsed = (messages: readonly OutgoingMessage[]) =>
  messages.map(({ value }) => Detection.parse(JSON.parse(value.toString())));

test("a store that hangs stops no look, and what was newest is published when it is back", async () => {
  const sent: OutgoingMessage[] = [];
  const [begun, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const { feed, pool, detector } = await setup(async (messages) => {
    begun.resolve();
    await gate.promise;
    sent.push(...messages);
  });
  await store.kill("SIGSTOP");
  await feed(1);
  await begun.promise; // what comes from here on waits
  await feed(39, 2_000);
  expect(pool.looked).toBe(80);
  // The last crops may still be on their way: of 80, one or two are out, and ten of each camera wait.
  await expect
    .poll(() => detector.detail(), { timeout: 15_000 })
    .toMatch(/80 frames looked at, 0 dropped, 5[89] detections dropped/);
  await store.kill("SIGCONT");
  gate.resolve();
  await detector.stop();
  const times = parsed(sent)
    .filter(({ cameraId }) => cameraId === "a")
    .map(({ capturedAt }) => Date.parse(capturedAt ?? ""));
  expect(times).toEqual([...times].sort((p, q) => p - q));
  expect(times.at(-1)).toBe(40_000);
  expect(times.length).toBeLessThan(20);
});

test("a topic that refuses is tried again with the same messages", async () => {
  const tries: string[][] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const { feed } = await setup((messages) => {
    tries.push(parsed(messages).map(({ messageId }) => messageId));
    if (tries.length < 3) return Promise.reject(new Error("away"));
    resolve();
    return Promise.resolve();
  });
  await feed(1);
  await promise;
  expect(tries[0]).not.toHaveLength(0);
  expect(tries[1]).toEqual(tries[0]);
  expect(tries[2]).toEqual(tries[0]);
});

test("exactly one message for every frame looked at, also for those under way at the stop", async () => {
  const sent: OutgoingMessage[] = [];
  const { feed, cameras, pool, detector, images } = await setup((messages) => {
    sent.push(...messages);
    return Promise.resolve();
  });
  await feed(25);
  cameras.frame("a", 90_000);
  await detector.stop();
  const messages = parsed(sent);
  expect(messages).toHaveLength(pool.looked);
  expect(new Set(messages.map(({ messageId }) => messageId)).size).toBe(pool.looked);
  for (const { messageId, trafficGroups, groupImages, detectedObjects } of messages) {
    expect(trafficGroups).toMatchObject([
      { groupIndex: 1, classes: ["car", "person"], features: { vulnerableToVehiclePx: 20 } },
    ]);
    expect(groupImages).toMatchObject([{ groupIndex: 1, imageUrl: expect.stringContaining(`${messageId}_group1`) }]);
    expect(images.images.has(groupImages[0]?.imageUrl ?? "")).toBe(true);
    expect(detectedObjects.map(({ trackId }) => trackId)).toEqual([1, 2]);
  }
  expect(cameras.lent).toBe(0);
  for (const id of ["a", "b"]) {
    const times = messages
      .filter(({ cameraId }) => cameraId === id)
      .map(({ capturedAt }) => Date.parse(capturedAt ?? ""));
    expect(times).toEqual([...times].sort((p, q) => p - q)); // a later look's crops may be ready first
  }
});

test("each change of a camera's state is in the hash and an event; a stopped detector's cameras are offline", async () => {
  const { redis, cameras, detector } = await setup(() => Promise.resolve());
  const listener = redis.duplicate({ protocol: 2, enableOfflineQueue: true, maxRetriesPerRequest: null });
  onTestFinished(() => listener.disconnect());
  const states = async () =>
    (await redis.xrange(KEYS.events, "-", "+")).map(([, [, type, , json]]) => {
      expect(type).toBe("camera");
      return CameraEvent.parse(JSON.parse(json ?? "")).status;
    });
  cameras.sink("a").state("stalled", "no frame comes");
  for (;;) {
    const seen = (await redis.xrevrange(KEYS.events, "+", "-", "COUNT", 1))[0]?.[0] ?? "0";
    if ((await states()).some((status) => status?.state === "stalled")) break;
    await listener.xread("BLOCK", 0, "STREAMS", KEYS.events, seen);
  }
  const status = CameraStatus.parse(JSON.parse((await redis.hget(KEYS.cameras, "a")) ?? ""));
  expect(status).toMatchObject({ cameraId: "a", state: "stalled", detail: "no frame comes", detector: "detector-1" });
  await detector.stop();
  const all = await redis.hgetall(KEYS.cameras);
  expect(Object.values(all).map((json) => CameraStatus.parse(JSON.parse(json)).state)).toEqual(["offline", "offline"]);
  expect((await states()).at(-1)?.state).toBe("offline");
});
