import { pino } from "pino";
import { describe, expect, test } from "vitest";
import type { Context } from "../../src/context.ts";
import { Detection } from "../../src/messages.ts";
import {
  arrivalsOf,
  type CameraLoadOptions,
  createCameraLoad,
  type LoadCrop,
} from "../../src/simulator/camera-load.ts";

const crop: LoadCrop = {
  jpeg: Buffer.from("jpeg"),
  objects: [
    { class: "person", confidence: 0.8, bbox: [0, 0, 10, 20] },
    { class: "car", confidence: 0.6, bbox: [20, 0, 60, 20] },
  ],
  bbox: [0, 0, 60, 20],
  classes: ["car", "person"],
  features: null,
  imageWidth: 768,
  imageHeight: 576,
};
const plan = { cameras: 50, rate: 0.5, seconds: 60, crops: [crop] } as const;
const gapsOf = (afterMs: number[]) => afterMs.slice(1).map((at, i) => at - (afterMs[i] ?? 0));

describe("arrivals", () => {
  test("constant: the rate exactly, each camera evenly, no two at once", () => {
    const arrivals = [...arrivalsOf({ ...plan, arrivals: "constant" })];
    expect(arrivals).toHaveLength(1_500);
    expect(new Set(gapsOf(arrivals.map(({ afterMs }) => afterMs)))).toEqual(new Set([40]));
    const one = arrivals.filter(({ cameraId }) => cameraId === "load-007").map(({ afterMs }) => afterMs);
    expect(one).toHaveLength(30);
    expect(new Set(gapsOf(one))).toEqual(new Set([2_000]));
  });

  test("poisson: the rate on average, gaps as scattered as exponential ones are", () => {
    const arrivals = [...arrivalsOf({ ...plan, seconds: 2_000, arrivals: "poisson" })];
    const gaps = gapsOf(arrivals.map(({ afterMs }) => afterMs));
    const mean = gaps.reduce((a, b) => a + b, 0) / gaps.length;
    const deviation = Math.sqrt(gaps.reduce((sum, g) => sum + (g - mean) ** 2, 0) / gaps.length);
    expect(mean / 40).toBeCloseTo(1, 1);
    expect(deviation / mean).toBeCloseTo(1, 1);
    const perCamera = Map.groupBy(arrivals, ({ cameraId }) => cameraId);
    expect(perCamera.size).toBe(50);
    for (const own of perCamera.values()) expect(own.length / 1_000).toBeCloseTo(1, 0);
  });

  test("the same seed offers the same", () => {
    const times = (seed: number) =>
      [...arrivalsOf({ ...plan, arrivals: "poisson", seed })].map(({ afterMs }) => afterMs);
    expect(times(3)).toEqual(times(3));
    expect(times(3)).not.toEqual(times(4));
  });
});

/** Time that moves only when somebody sleeps, and then by `slowness` as much. */
function sleeping(slowness = 1): Context {
  let atMs = 5_000;
  return {
    clock: {
      nowMs: () => 1.7e12 + atMs,
      monotonicMs: () => atMs,
      sleep: async (ms) => {
        atMs += ms * slowness;
      },
    },
    log: pino({ level: "silent" }),
  };
}

function load(more: Partial<CameraLoadOptions> = {}, context = sleeping()) {
  const published: { topic: string; key: string; detection: Detection }[] = [];
  const images: string[] = [];
  const options: CameraLoadOptions = {
    ...plan,
    seconds: 4,
    arrivals: "constant",
    topics: {
      publish: async (topic, messages) => {
        for (const { key, value } of messages)
          published.push({ topic, key, detection: Detection.parse(JSON.parse(value.toString())) });
      },
    },
    images: {
      put: async (camera, name) => {
        images.push(name);
        return `vigilane:images/${camera}/2026112312/${name}.jpg`;
      },
    },
    ...more,
  };
  return { published, images, load: createCameraLoad(options, context) };
}
const never = new AbortController().signal;

test("each arrival is one detection of one group with its crop, captured when it was due", async () => {
  const { load: cameraLoad, published, images } = load();
  const tasks: string[] = [];
  const other = load({ onPublished: ({ taskId }) => tasks.push(taskId) });
  expect(await cameraLoad.run(never)).toEqual({ offered: 100, published: 100, failed: 0, late: 0 });
  expect(images).toHaveLength(100);
  const { topic, key, detection } = published[7] ?? { topic: "", key: "", detection: undefined };
  expect({ topic, key }).toEqual({ topic: "detection-results", key: "load-008" });
  expect(detection).toMatchObject({
    cameraId: "load-008",
    capturedAt: new Date(1.7e12 + 5_000 + 7 * 40).toISOString(),
    trafficGroups: [
      { groupIndex: 1, objectCount: 2, averageConfidence: 0.7, memberIndices: [0, 1], classes: ["car", "person"] },
    ],
    groupImages: [
      { groupIndex: 1, imageUrl: `vigilane:images/load-008/2026112312/${detection?.messageId}_group1.jpg` },
    ],
  });
  const tracks = published.flatMap((one) => one.detection.detectedObjects.map(({ trackId }) => trackId));
  expect(new Set(tracks).size).toBe(200);
  await other.load.run(never);
  expect(tasks).toEqual(other.published.map((one) => `${one.detection.messageId}_group1`));
});

test("without an image store the crops travel inside; cameras and tracks are of their own by setting", async () => {
  const published: Detection[] = [];
  const topics: CameraLoadOptions["topics"] = {
    publish: async (_topic, messages) => {
      for (const { value } of messages) published.push(Detection.parse(JSON.parse(value.toString())));
    },
  };
  const own = { cameras: 2, rate: 1, seconds: 1, prefix: "test-", firstNth: 7, arrivals: "constant" } as const;
  await createCameraLoad({ ...own, crops: [crop], topics }, sleeping()).run(never);
  expect(published.map(({ cameraId }) => cameraId)).toEqual(["test-001", "test-002"]);
  expect(published[0]?.groupImages).toEqual([{ groupIndex: 1, imageBase64: crop.jpeg.toString("base64") }]);
  expect(published[0]?.detectedObjects[0]?.trackId).toBe(7_001);
});

test("a slow topic delays no arrival", async () => {
  const { promise: open, resolve: letGo } = Promise.withResolvers<void>();
  let begun = 0;
  const { load: cameraLoad } = load({
    topics: {
      publish: async () => {
        begun += 1;
        if (begun === 100) letGo();
        await open;
      },
    },
  });
  expect(await cameraLoad.run(never)).toMatchObject({ offered: 100, published: 100, late: 0 });
});

test("what was sent too late is counted, and is dated when it was due all the same", async () => {
  const { load: cameraLoad, published } = load({ seconds: 4 }, sleeping(3));
  const { late } = await cameraLoad.run(never);
  // Each sleep of 40 ms takes 120: one is 80 ms late, the next 40, the third is due.
  expect(late).toBe(33);
  expect(published[1]?.detection.capturedAt).toBe(new Date(1.7e12 + 5_000 + 40).toISOString());
});

test("a refusing topic is counted, and the load goes on", async () => {
  let n = 0;
  const { load: cameraLoad } = load({
    topics: {
      publish: async () => {
        n += 1;
        if (n % 4 === 0) throw new Error("away");
      },
    },
  });
  expect(await cameraLoad.run(never)).toEqual({ offered: 100, published: 75, failed: 25, late: 0 });
});

test("it ends when it is told to", async () => {
  const stop = new AbortController();
  const { load: cameraLoad } = load({
    onPublished: () => stop.abort(),
  });
  const { offered, published } = await cameraLoad.run(stop.signal);
  expect(offered).toBeLessThan(10);
  expect(published).toBe(offered);
});
