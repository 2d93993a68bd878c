/** The detector's role: ffmpeg, model and footage are found or fetched, then every camera is watched. */
import { existsSync } from "node:fs";
import { ensureFfmpeg } from "../assets/ffmpeg.ts";
import { ensureFootage } from "../assets/footage.ts";
import { ensureModel } from "../assets/models.ts";
import { type Camera, readCameras } from "../cameras.ts";
import type { Context } from "../context.ts";
import { demoCameras } from "../detector/demo-cameras.ts";
import { type CameraDetector, createCameraDetector } from "../detector/detector.ts";
import { createFfmpegSources } from "../detector/ffmpeg-frame-source.ts";
import { checkFfmpeg } from "../detector/ffmpeg-process.ts";
import { createInferencePool } from "../detector/inference-pool.ts";
import { createOlderDetectionKeys } from "../detector/older-detection-key.ts";
import { service } from "../lifecycle.ts";
import type { Settings } from "../settings.ts";
import { checkStore, connectBeside, connectStore } from "../store.ts";
import { openTopicLog } from "../topics/open-topic-log.ts";
import { TOPICS } from "../topics/topic-log.ts";
import { openImageStore } from "./open-image-store.ts";
import { instanceName, storeUrl } from "./places.ts";
import type { RoleService } from "./role-service.ts";

export function createDetector(settings: Settings, context: Context): RoleService & { detail(): string } {
  let detector: CameraDetector | undefined;
  const url = storeUrl(settings);
  const topics = openTopicLog(settings, url, context);
  const base = service("detector's role", context, async (acquired) => {
    const ffmpegPath = await ensureFfmpeg(settings, context);
    const version = await checkFfmpeg(ffmpegPath);
    const model = await ensureModel(settings, context);
    const cameras = await camerasOf(settings, context);
    context.log.info({ ffmpeg: ffmpegPath, version, cameras: cameras.length }, "the detector has what it needs");

    // States and previews: never sent late, so never queued while the store is away.
    const redis = acquired.add(
      await connectStore(url, context, { maxRetriesPerRequest: 0, enableOfflineQueue: false }),
      "store connection",
      (r) => r.disconnect(),
    );
    await checkStore(redis);
    const images = await acquired.start(openImageStore(settings, context));
    await acquired.start(topics);
    await topics.ensureTopic(TOPICS.detections);
    const older =
      settings.olderRedis === "none"
        ? undefined
        : acquired.add(connectBeside(settings.olderRedisUrl ?? url, context), "older readers' Redis", (r) =>
            r.disconnect(),
          );
    detector = createCameraDetector(
      {
        instance: instanceName("detector"),
        cameras,
        defaultIntervalMs: settings.frameIntervalMs,
        hashCrops: settings.reuseSeconds > 0 || cameras.some((camera) => camera.reuseSeconds),
        forOlder: {
          inlineImages: settings.inlineImages,
          olderKeys: older && createOlderDetectionKeys(older),
        },
        pool: createInferencePool(model, context, settings.detectorThreads),
        sources: createFfmpegSources(ffmpegPath, context),
        topics,
        images,
        redis,
      },
      context,
    );
    await acquired.start(detector);
  });
  return Object.assign(base, {
    detail: () => detector?.detail() ?? "starting",
    topicTrouble: () => topics.trouble(),
    toPublish: () => detector?.toPublish() ?? null,
  });
}

const DEFAULT_CAMERAS_FILE = "config/cameras.yaml";

/** One source, else the file, else the default file where there is one, else the demo's four. */
async function camerasOf(settings: Settings, context: Context): Promise<Camera[]> {
  if (settings.source) return [{ id: "camera-1", name: "Camera 1", source: settings.source }];
  if (settings.cameras) return readCameras(settings.cameras);
  if (existsSync(DEFAULT_CAMERAS_FILE)) return readCameras(DEFAULT_CAMERAS_FILE);
  context.log.info("no cameras are configured: four demo cameras on OpenCV's footage");
  return demoCameras(await ensureFootage(settings, context));
}
