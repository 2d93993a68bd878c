/**
 * Many cameras that are none: detections with real crops, published as a detector would, at times that do not depend on
 * how the rest of the system keeps up (open loop). What it measures is therefore what a user would feel.
 */
import { randomUUID } from "node:crypto";
import type { Context } from "../context.ts";
import type { ImageStore } from "../images/image-store.ts";
import type { Bbox, DetectedObject, Detection, GroupFeatures } from "../messages.ts";
import { TOPICS, type TopicLog } from "../topics/topic-log.ts";
import { type Random, seededRandom } from "./latency.ts";

/** A group as a detector once saw it. */
export interface LoadCrop {
  jpeg: Buffer;
  /** The group's members, boxes in pixels of the frame. */
  objects: readonly DetectedObject[];
  bbox: Bbox;
  classes: readonly string[];
  features: GroupFeatures | null;
  imageWidth: number;
  imageHeight: number;
}

export interface CameraLoadOptions {
  /** How many cameras; their ids are the prefix and a number from 001. */
  cameras: number;
  /** Begins the cameras' ids: by it everybody can tell them from real ones. Default "load-". */
  prefix?: string;
  /** Number of the first message, which its track ids are made of: two loads of the same cameras are to have others. Default 0. */
  firstNth?: number;
  /** Groups a second of each camera; 50 cameras at 0.5 are 25 groups a second. One group a message. */
  rate: number;
  seconds: number;
  /** poisson: exponential gaps, as independent cameras have. constant: even gaps, the cameras taking turns. */
  arrivals: "poisson" | "constant";
  /** The same seed offers the same crops at the same times. Default 1. */
  seed?: number;
  /** At least one; drawn at random, again and again. */
  crops: readonly LoadCrop[];
  /** Started by the caller. */
  topics: Pick<TopicLog, "publish">;
  /** Absent: the crops travel inside the messages, for a system whose image store cannot be reached from here. */
  images?: Pick<ImageStore, "put">;
  /** Once a second, and at the end. */
  onProgress?: (progress: LoadProgress) => void;
  /** After each message was accepted by the topic. */
  onPublished?: (message: { taskId: string; cameraId: string; capturedAtMs: number }) => void;
}

export interface LoadProgress {
  /** Groups whose time has come. */
  offered: number;
  /** Accepted by the topic. */
  published: number;
  /** Not accepted: the topic or the image store refused. */
  failed: number;
  /** Sent more than 50 ms after their time: this machine was too slow to offer what was asked. */
  late: number;
}

export interface CameraLoad {
  /** Offers everything and waits until all of it was accepted or has failed. Ends early when `signal` aborts. Once only. */
  run(signal: AbortSignal): Promise<LoadProgress>;
}

const LATE_MS = 50;
const PROGRESS_MS = 1_000;

export function createCameraLoad(options: CameraLoadOptions, context: Context): CameraLoad {
  if (options.crops.length === 0) throw new RangeError("a camera load needs at least one crop");
  const { clock, log } = context;
  const progress: LoadProgress = { offered: 0, published: 0, failed: 0, late: 0 };
  const onTheirWay = new Set<Promise<void>>();

  const send = async (arrival: Arrival, capturedAtMs: number) => {
    try {
      const detection = await detectionOf(arrival, options, capturedAtMs, clock.nowMs());
      await options.topics.publish(TOPICS.detections, [
        { key: arrival.cameraId, value: Buffer.from(JSON.stringify(detection)) },
      ]);
      progress.published += 1;
      options.onPublished?.({ taskId: `${detection.messageId}_group1`, cameraId: arrival.cameraId, capturedAtMs });
    } catch (error) {
      if (progress.failed === 0) log.warn({ err: error }, "a synthetic detection could not be published");
      progress.failed += 1;
    }
  };

  return {
    async run(signal) {
      const startedAtMs = clock.monotonicMs();
      const startedAtWallMs = clock.nowMs();
      let reportedAtMs = startedAtMs;
      for (const arrival of arrivalsOf(options)) {
        const waitMs = startedAtMs + arrival.afterMs - clock.monotonicMs();
        if (waitMs > 0) await clock.sleep(waitMs, signal).catch(() => {});
        if (signal.aborted) break;
        const nowMs = clock.monotonicMs();
        progress.offered += 1;
        if (nowMs - startedAtMs - arrival.afterMs > LATE_MS) progress.late += 1;
        const sent = send(arrival, startedAtWallMs + arrival.afterMs).finally(() => onTheirWay.delete(sent));
        onTheirWay.add(sent);
        if (nowMs - reportedAtMs >= PROGRESS_MS) {
          reportedAtMs = nowMs;
          options.onProgress?.({ ...progress });
        }
      }
      await Promise.all(onTheirWay);
      options.onProgress?.({ ...progress });
      return { ...progress };
    },
  };
}

export interface Arrival {
  /** Since the start of the load, ms, ascending. */
  afterMs: number;
  cameraId: string;
  crop: LoadCrop;
  /** One more for each arrival. */
  nth: number;
}

/** When what comes from where. Independent Poisson cameras together are one Poisson process with cameras drawn evenly. */
export function* arrivalsOf(
  options: Pick<
    CameraLoadOptions,
    "cameras" | "prefix" | "firstNth" | "rate" | "seconds" | "arrivals" | "seed" | "crops"
  >,
): Generator<Arrival> {
  const random = seededRandom(options.seed ?? 1);
  const { prefix = "load-", firstNth = 0 } = options;
  const meanGapMs = 1_000 / (options.cameras * options.rate);
  let afterMs = options.arrivals === "constant" ? 0 : gap(random, meanGapMs);
  for (let nth = 0; afterMs < options.seconds * 1_000; nth += 1) {
    const camera = options.arrivals === "constant" ? nth % options.cameras : Math.floor(random() * options.cameras);
    const crop = options.crops[Math.floor(random() * options.crops.length)];
    if (crop) yield { afterMs, cameraId: prefix + String(camera + 1).padStart(3, "0"), crop, nth: firstNth + nth };
    afterMs = options.arrivals === "constant" ? (nth + 1) * meanGapMs : afterMs + gap(random, meanGapMs);
  }
}

/** Exponentially distributed. */
const gap = (random: Random, meanMs: number) => -Math.log(1 - random()) * meanMs;

/** Track ids are new in each message, so that no group replaces another that waits: all of them are to be judged. */
async function detectionOf(
  { crop, cameraId, nth }: Arrival,
  { images }: Pick<CameraLoadOptions, "images">,
  capturedAtMs: number,
  nowMs: number,
): Promise<Detection> {
  const messageId = randomUUID();
  const image = images
    ? { imageUrl: await images.put(cameraId, `${messageId}_group1`, crop.jpeg) }
    : { imageBase64: crop.jpeg.toString("base64") };
  const detectedObjects = crop.objects.map((object, i) => ({ ...object, trackId: nth * 1_000 + i + 1 }));
  const confidences = crop.objects.map(({ confidence }) => confidence);
  return {
    messageId,
    cameraId,
    timestamp: new Date(nowMs).toISOString(),
    capturedAt: new Date(capturedAtMs).toISOString(),
    detectedAt: new Date(nowMs).toISOString(),
    imageWidth: crop.imageWidth,
    imageHeight: crop.imageHeight,
    detectedObjects,
    trafficGroups: [
      {
        groupIndex: 1,
        objectCount: detectedObjects.length,
        bbox: crop.bbox,
        classes: [...crop.classes],
        averageConfidence: confidences.reduce((sum, c) => sum + c, 0) / Math.max(1, confidences.length),
        memberIndices: detectedObjects.map((_, i) => i),
        ...(crop.features && { features: crop.features }),
      },
    ],
    groupImages: [{ groupIndex: 1, ...image }],
  };
}
