/** Real groups for `vigilane load`: cut from the demo footage by the detector's own parts, once, then kept in the cache. */
import { ensureFfmpeg } from "../assets/ffmpeg.ts";
import { ensureFootage } from "../assets/footage.ts";
import { ensureModel } from "../assets/models.ts";
import type { Context } from "../context.ts";
import { cluster } from "../detector/cluster.ts";
import { cropGroup } from "../detector/crop.ts";
import { featuresOf } from "../detector/features.ts";
import { createFfmpegSources } from "../detector/ffmpeg-frame-source.ts";
import type { Frame } from "../detector/frame-source.ts";
import { createInferencePool, type InferencePool } from "../detector/inference-pool.ts";
import { BYTE_TRACK, NO_TRACKS, track } from "../detector/track.ts";
import { Acquired } from "../lifecycle.ts";
import { ROAD_USERS } from "../model-file.ts";
import type { Settings } from "../settings.ts";
import type { LoadCrop } from "../simulator/camera-load.ts";
import { CROP_SET_SIZE, ensureCropSet } from "../simulator/crop-set.ts";

/** Takes some 20 s the first time (footage plays at its own speed), then nothing. Rejects when `signal` aborts. */
export function ensureLoadCrops(settings: Settings, context: Context, signal: AbortSignal): Promise<LoadCrop[]> {
  return ensureCropSet(settings.cache, () => cutFromFootage(settings, context, signal), context);
}

/** From all over the footage, and few of one look: the set is to show many scenes. */
const STARTS_AT_SECONDS = [0, 20, 40, 60];
const LOOK_EVERY_MS = 2_000;
const GROUPS_A_LOOK = 2;
const LONGEST_MS = 120_000;

async function cutFromFootage(settings: Settings, context: Context, signal: AbortSignal): Promise<LoadCrop[]> {
  const acquired = new Acquired();
  const ended = acquired.add(new AbortController(), "longest time", (timer) => timer.abort());
  const crops: LoadCrop[] = [];
  try {
    const ffmpegPath = await ensureFfmpeg(settings, context);
    const footage = await ensureFootage(settings, context);
    const model = await ensureModel(settings, context);
    context.log.info("cutting crops from the demo footage for the load");
    const pool = await acquired.start(createInferencePool(model, context, 1));
    const enough = Promise.withResolvers<void>();
    let looking = false;
    const sources = createFfmpegSources(ffmpegPath, context);
    const frame = (seen: Frame) => {
      if (looking) return seen.release();
      looking = true;
      groupsOf(seen, pool)
        .then((found) => {
          crops.push(...found);
          if (crops.length >= CROP_SET_SIZE) enough.resolve();
        }, enough.reject)
        .finally(() => {
          looking = false;
          seen.release();
        });
    };
    const state = (now: string, detail: string) => context.log.debug({ now, detail }, "footage for the load");
    for (const startAtSeconds of STARTS_AT_SECONDS) {
      const source = sources({
        cameraId: `footage from second ${startAtSeconds}`,
        source: footage,
        intervalMs: LOOK_EVERY_MS,
        startAtSeconds,
        loop: true,
        inputSize: pool.inputSize,
        sink: { state, frame },
      });
      await acquired.start(source);
    }
    await Promise.race([enough.promise, context.clock.sleep(LONGEST_MS, AbortSignal.any([signal, ended.signal]))]);
    return crops;
  } finally {
    await acquired.unwind(context);
  }
}

async function groupsOf({ picture, capturedAtMs }: Frame, pool: InferencePool): Promise<LoadCrop[]> {
  const boxes = await pool.look(picture, ROAD_USERS, BYTE_TRACK.weak);
  const objects = track(NO_TRACKS, boxes, capturedAtMs, BYTE_TRACK).tracked.map((object) => ({ ...object }));
  const { width: imageWidth, height: imageHeight } = picture.layout;
  const groups = cluster(objects)
    .sort((a, b) => b.objectCount - a.objectCount)
    .slice(0, GROUPS_A_LOOK);
  const cut = await Promise.all(
    groups.map(async (group) => {
      const jpeg = await cropGroup(picture, group.bbox);
      const members = group.memberIndices.flatMap((i) => objects[i] ?? []);
      const features = featuresOf(group, objects, null);
      return jpeg
        ? [{ jpeg, objects: members, bbox: group.bbox, classes: group.classes, features, imageWidth, imageHeight }]
        : [];
    }),
  );
  return cut.flat();
}
