/** The detector's services start and stop in every order; a start that fails leaves nothing running. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCameraDetector } from "../../src/detector/detector.ts";
import { createFfmpegSources } from "../../src/detector/ffmpeg-frame-source.ts";
import { checkFfmpeg } from "../../src/detector/ffmpeg-process.ts";
import { createInferencePool } from "../../src/detector/inference-pool.ts";
import type { ModelFile } from "../../src/model-file.ts";
import { connectStore } from "../../src/store.ts";
import { quiet, testFfmpeg, testFootage, testModel } from "../support/detector-assets.ts";
import { createMemoryImageStore } from "../support/memory-image-store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { stressStartStop } from "../support/service-stress.ts";

let store: TestRedis;
let ffmpeg: string;
let footage: string;
let model: ModelFile;

beforeAll(async () => {
  [store, ffmpeg, footage, model] = await Promise.all([startRedis(), testFfmpeg(), testFootage(), testModel()]);
}, 300_000);
afterAll(() => store.stop());

const source = () =>
  createFfmpegSources(
    ffmpeg,
    quiet,
  )({
    cameraId: "a",
    source: footage,
    intervalMs: 200,
    startAtSeconds: 0,
    loop: true,
    inputSize: { kind: "open", longSidePx: 640 },
    sink: { frame: (frame) => frame.release(), state() {} },
  });

test("frame source, inference threads and the whole detector, in every order", async () => {
  await stressStartStop(source);
  await stressStartStop(() => createInferencePool(model, quiet, 2));
  const redis = await connectStore(store.url, quiet);
  await stressStartStop(() =>
    createCameraDetector(
      {
        instance: "stressed",
        cameras: [{ id: "a", source: footage }],
        defaultIntervalMs: 200,
        pool: createInferencePool(model, quiet, 2),
        sources: createFfmpegSources(ffmpeg, quiet),
        topics: { publish: () => Promise.resolve(), publishedAgain: () => 0 },
        images: createMemoryImageStore(),
        redis,
      },
      quiet,
    ),
  );
  redis.disconnect();
  expect(await ffmpegChildren()).toBe(0);
});

test("a detector whose model cannot be read fails to start, says why, and leaves nothing", async () => {
  const redis = await connectStore(store.url, quiet);
  const detector = createCameraDetector(
    {
      instance: "broken",
      cameras: [{ id: "a", source: footage }],
      defaultIntervalMs: 200,
      pool: createInferencePool({ ...model, path: footage }, quiet, 2),
      sources: createFfmpegSources(ffmpeg, quiet),
      topics: { publish: () => Promise.resolve(), publishedAgain: () => 0 },
      images: createMemoryImageStore(),
      redis,
    },
    quiet,
  );
  await expect(detector.start()).rejects.toMatchObject({ code: "MODEL_UNREADABLE" });
  await detector.stop();
  redis.disconnect();
  expect(await ffmpegChildren()).toBe(0);
});

test("an ffmpeg that is none is refused", async () => {
  expect(await checkFfmpeg(ffmpeg)).toMatch(/\d/);
  await expect(checkFfmpeg("/nowhere/ffmpeg")).rejects.toMatchObject({ code: "FFMPEG_MISSING" });
});

async function ffmpegChildren(): Promise<number> {
  const { stdout } = await promisify(execFile)("ps", ["-o", "comm=", "--ppid", String(process.pid)]);
  return stdout.split("\n").filter((name) => name.startsWith("ffmpeg")).length;
}
