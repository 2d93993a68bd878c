/** The boxes of every frame of the demo footage, computed once and kept in the cache: what the tracking bench begins from. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pino } from "pino";
import { ensureFfmpeg } from "../src/assets/ffmpeg.ts";
import { ensureFootage } from "../src/assets/footage.ts";
import { ensureModel } from "../src/assets/models.ts";
import { type Context, systemClock } from "../src/context.ts";
import { lookOptions } from "../src/detector/ffmpeg-options.ts";
import { startFfmpeg } from "../src/detector/ffmpeg-process.ts";
import { type Box, createInferencePool } from "../src/detector/inference-pool.ts";
import { letterbox } from "../src/detector/letterbox.ts";
import { pictureLayout } from "../src/detector/picture.ts";
import { BufferPool, Y4mReader } from "../src/detector/y4m.ts";
import { ROAD_USERS } from "../src/model-file.ts";
import { defaultCacheFolder } from "../src/settings.ts";

export const context: Context = { clock: systemClock, log: pino({ level: process.env.BENCH_LOG ?? "silent" }) };
export const cache = defaultCacheFolder();
export const FOOTAGE_FPS = 10;

/** Boxes of at least 0.1, frame by frame. */
export async function footageBoxes(): Promise<Box[][]> {
  const model = await ensureModel({ cache, model: "yolo11n" }, context);
  const kept = join(
    cache,
    "bench",
    `boxes-${createHash("sha256").update("yolo11n vtest 0.1").digest("hex").slice(0, 8)}.json`,
  );
  if (existsSync(kept)) return JSON.parse(readFileSync(kept, "utf8")) as Box[][];
  const [ffmpeg, footage] = [await ensureFfmpeg({ cache }, context), await ensureFootage({ cache }, context)];
  const pool = createInferencePool(model, context);
  await pool.start();
  const colour = { matrix: "bt601", range: "limited" } as const;
  const box = letterbox(pool.inputSize, 768, 576);
  const layout = pictureLayout(box, colour);
  const all: Promise<Box[]>[] = [];
  const free = Array.from({ length: pool.places }, () => Promise.resolve());
  const reader = new Y4mReader(
    {
      header() {},
      frame(data) {
        const n = all.length;
        const looked = (free[n % free.length] ?? Promise.resolve()).then(() =>
          pool.look({ layout, data }, ROAD_USERS, 0.1),
        );
        free[n % free.length] = looked.then(() => {});
        all.push(looked);
      },
    },
    new BufferPool(),
    () => 0,
  );
  const facts = {
    format: "avi",
    codec: "",
    width: 768,
    height: 576,
    colour,
    fps: 10,
    keyframeMs: null,
    bFrames: false,
    durationSeconds: 80,
  };
  const plan = { keyframesOnly: false, selectMs: 0, expectedMs: 100, detail: "" };
  const scratch = mkdtempSync(join(tmpdir(), "vigilane-"));
  const run = startFfmpeg(
    ffmpeg,
    { input: footage, before: ["-threads", "1"], after: lookOptions(plan, facts, layout) },
    { kind: "frames", folder: scratch, into: reader },
    context,
  );
  await run.ended;
  rmSync(scratch, { recursive: true });
  const boxes = await Promise.all(all);
  await pool.stop();
  mkdirSync(dirname(kept), { recursive: true });
  writeFileSync(kept, JSON.stringify(boxes));
  return boxes;
}
