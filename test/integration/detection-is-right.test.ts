/**
 * The whole way of one picture, from the JPEG through ffmpeg and the model, gives the boxes that another runtime gives.
 *
 * The expected boxes were computed once with Python's onnxruntime 1.32.0 and Pillow: bus.jpg as RGB, resized to 480×640
 * (bilinear), divided by 255; the same yolo11n.onnx; best class score above 0.25, class-wise suppression at IoU 0.7;
 * scaled back to 810×1080.
 */
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { createFfmpegSources } from "../../src/detector/ffmpeg-frame-source.ts";
import type { Frame } from "../../src/detector/frame-source.ts";
import { iou } from "../../src/detector/geometry.ts";
import { type Box, createInferencePool } from "../../src/detector/inference-pool.ts";
import type { Bbox } from "../../src/messages.ts";
import { ROAD_USERS } from "../../src/model-file.ts";
import { quiet, testBus, testFfmpeg, testModel } from "../support/detector-assets.ts";

const EXPECTED: { class: string; confidence: number; bbox: Bbox }[] = [
  { class: "bus", confidence: 0.946, bbox: [20.5, 230.5, 806.8, 734.6] },
  { class: "person", confidence: 0.883, bbox: [670.9, 395.3, 809.8, 878.3] },
  { class: "person", confidence: 0.882, bbox: [47.5, 399.7, 238.8, 904.8] },
  { class: "person", confidence: 0.861, bbox: [222.4, 408.3, 344.4, 860.1] },
  { class: "person", confidence: 0.612, bbox: [0.0, 556.0, 70.0, 871.4] },
];

let ffmpeg: string;
let bus: string | null;

beforeAll(async () => {
  [ffmpeg, bus] = await Promise.all([testFfmpeg(), testBus()]);
  if (!bus) console.log("detection-is-right: skipped: bus.jpg cannot be had (pip download of ultralytics failed)");
}, 300_000);

test("a bus and four persons, where the other runtime sees them", async ({ skip }) => {
  skip(!bus);
  const boxes = await look("yolo11n");
  expect(boxes.map((box) => box.class)).toEqual(EXPECTED.map((box) => box.class));
  for (const expected of EXPECTED) {
    const best = boxes.find((box) => box.class === expected.class && iou(box.bbox, expected.bbox) >= 0.9);
    expect(best, JSON.stringify(expected)).toBeDefined();
    expect(Math.abs((best?.confidence ?? 0) - expected.confidence)).toBeLessThan(0.06);
  }
});

test("a model with fixed axes sees the same bus and people", async ({ skip }) => {
  skip(!bus);
  const boxes = await look("yolov8n");
  for (const expected of EXPECTED.slice(0, 4)) {
    expect(boxes.some((box) => box.class === expected.class && iou(box.bbox, expected.bbox) >= 0.85)).toBe(true);
  }
});

test("what is no model is refused, with its path", async () => {
  const pool = createInferencePool({ ...(await testModel()), path: import.meta.filename }, quiet, 1);
  await expect(pool.start()).rejects.toMatchObject({ code: "MODEL_UNREADABLE" });
});

async function look(name: string): Promise<Box[]> {
  const pool = createInferencePool(await testModel(name), quiet, 1);
  await pool.start();
  onTestFinished(() => pool.stop());
  const frame = await firstFrame(bus ?? "", pool.inputSize);
  return pool.look(frame.picture, ROAD_USERS, 0.25);
}

async function firstFrame(
  source: string,
  inputSize: Parameters<ReturnType<typeof createFfmpegSources>>[0]["inputSize"],
) {
  const { promise, resolve } = Promise.withResolvers<Frame>();
  const camera = createFfmpegSources(
    ffmpeg,
    quiet,
  )({
    cameraId: "bus",
    source,
    intervalMs: 1000,
    startAtSeconds: 0,
    loop: true,
    inputSize,
    sink: { frame: resolve, state() {} },
  });
  await camera.start();
  const frame = await promise;
  await camera.stop();
  return frame;
}
