/**
 * The detector's main path: frame → boxes → tracks → groups → preview at once, and crops and message to the topic.
 *
 * Exactly one detection message is made for every frame looked at. Nothing on the way to the store or the page is waited
 * for by a camera: previews and messages have bounded places of their own, where the newest wins.
 */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Camera } from "../cameras.ts";
import type { Context } from "../context.ts";
import type { ToPublish } from "../events.ts";
import type { ImageStore } from "../images/image-store.ts";
import { loop, type Service, service } from "../lifecycle.ts";
import type { Bbox, DetectedObject, Detection, PreviewHeader, TrafficGroup } from "../messages.ts";
import { ROAD_USERS } from "../model-file.ts";
import { scoreGroup } from "../score.ts";
import type { TopicLog } from "../topics/topic-log.ts";
import { CameraBoard } from "./camera-board.ts";
import { BX, cluster } from "./cluster.ts";
import { cropGroup, previewOf } from "./crop.ts";
import { DetectionOutbox, type OutboxOptions } from "./detection-outbox.ts";
import { featuresOf } from "./features.ts";
import type { Frame, FrameSourceFactory } from "./frame-source.ts";
import { imageHash } from "./image-hash.ts";
import type { Box, InferencePool } from "./inference-pool.ts";
import type { Picture } from "./picture.ts";
import { PreviewPublisher } from "./preview-publisher.ts";
import { LookSchedule } from "./schedule.ts";
import { BYTE_TRACK, NO_TRACKS, type TrackState, track } from "./track.ts";

export interface DetectorParts {
  /** Unique among the living detectors, stable over restarts: owns its cameras' states. */
  instance: string;
  cameras: readonly Camera[];
  defaultIntervalMs: number;
  /** Crops get a hash of how they look, by which verdicts are re-used. Default false. */
  hashCrops?: boolean;
  /** What older readers of the detections need besides. Default: nothing. */
  forOlder?: OutboxOptions;
  /** Started here. */
  pool: InferencePool;
  sources: FrameSourceFactory;
  /** Started by the caller. */
  topics: Pick<TopicLog, "publish" | "publishedAgain">;
  images: Pick<ImageStore, "put">;
  redis: Redis;
}

/** One camera as the looks go by. */
interface Watched {
  camera: Camera;
  intervalMs: number;
  classes: readonly string[];
  tracks: TrackState;
  /** The end of the newest look's way to the outbox: a camera's messages keep their order. */
  sent: Promise<void>;
}

/** What one look found. */
interface Sight {
  objects: DetectedObject[];
  groups: TrafficGroup[];
}

const STATUS_EVERY_MS = 1_000;
/** How long what waits may take to reach the topic at a stop. */
const FAREWELL_MS = 2_000;

/** `toPublish`: null before the start. */
export type CameraDetector = Service & { detail(): string; toPublish(): ToPublish | null };

export function createCameraDetector(parts: DetectorParts, context: Context): CameraDetector {
  const { clock, log } = context;
  const { pool, redis, cameras } = parts;
  let detail = () => "starting";
  let toPublish = (): ToPublish | null => null;

  const base = service("detector", context, async (acquired, signal) => {
    const board = new CameraBoard(redis, parts.instance, context);
    const previews = new PreviewPublisher(redis, context);
    const outbox = new DetectionOutbox(parts.topics, parts.images, context, parts.forOlder);
    const schedule = new LookSchedule<Frame>(clock);
    const watched = new Map<string, Watched>();
    let looking = 0;
    /** Looks and what follows them: a stop waits for these, so that what was looked at is published too. */
    const underWay = new Set<Promise<void>>();
    const follow = (work: Promise<void>) => {
      const kept = work.finally(() => underWay.delete(kept));
      underWay.add(kept);
    };
    await acquired.start(pool);
    for (const camera of cameras) {
      const intervalMs = camera.frameIntervalMs ?? parts.defaultIntervalMs;
      watched.set(camera.id, {
        camera,
        intervalMs,
        classes: camera.classes ?? ROAD_USERS,
        tracks: NO_TRACKS,
        sent: Promise.resolve(),
      });
      board.add(camera, intervalMs);
      schedule.add(camera.id, camera.weight ?? 1);
    }
    const ids = [...watched.keys()];
    void board.forgetOthers().catch((error: unknown) => log.debug({ err: error }, "old cameras were not forgotten"));

    /** Keeps every inference thread busy as long as a frame waits. */
    const lookAround = () => {
      while (looking < pool.places && !signal.aborted) {
        const next = schedule.next();
        const camera = next && watched.get(next.cameraId);
        if (!next || !camera) return;
        looking += 1;
        const looked = look(camera, next.frame)
          .catch((error: unknown) => log.error({ err: error, cameraId: next.cameraId }, "a look failed"))
          .finally(() => {
            looking -= 1;
            schedule.done(next.cameraId);
            lookAround();
          });
        follow(looked);
      }
    };

    const look = async (camera: Watched, frame: Frame) => {
      try {
        const boxes = await pool.look(frame.picture, camera.classes, BYTE_TRACK.weak);
        const detectedAtMs = clock.nowMs();
        const sight = understand(camera, boxes, frame.capturedAtMs);
        const detection = detectionOf(camera, frame, sight, detectedAtMs, clock.nowMs());
        board.looked(camera.camera.id, frame.capturedAtMs);
        // Both read the picture before they first wait, so the frame can go right after.
        if (previews.isWatched(camera.camera.id)) void showPreview(frame.picture, detection, frame, detectedAtMs);
        camera.sent = sendOff(frame.picture, detection, camera.sent);
        follow(camera.sent);
      } finally {
        frame.release();
      }
    };

    const showPreview = async (picture: Picture, detection: Parcelled, frame: Frame, detectedAtMs: number) => {
      const header = previewHeader(detection, frame.capturedAtMs, detectedAtMs);
      try {
        previews.offer(header, await previewOf(picture));
      } catch (error) {
        log.warn({ err: error, cameraId: detection.cameraId }, "a preview could not be made");
      }
    };

    const sendOff = async (picture: Picture, detection: Parcelled, before: Promise<void>) => {
      const crops = await Promise.all(
        detection.trafficGroups.map(async ({ groupIndex, bbox }) => {
          const jpeg = await cropGroup(picture, bbox).catch((error: unknown) => {
            log.warn({ err: error, cameraId: detection.cameraId, groupIndex }, "a crop could not be made");
            return null;
          });
          if (!jpeg) return [];
          return [{ groupIndex, jpeg, ...(parts.hashCrops && { imageHash: await imageHash(jpeg) }) }];
        }),
      );
      await before;
      outbox.offer({ detection, crops: crops.flat() });
    };

    const sending = new AbortController();
    acquired.add(outbox.run(sending.signal), "detections' outbox", async (done) => {
      sending.abort();
      await Promise.race([done, clock.sleep(FAREWELL_MS)]);
    });
    const statusLoop = loop(context, signal, "cameras' states", async () => {
      void board.write();
      void previews.refresh(ids).catch(() => {});
      await clock.sleep(STATUS_EVERY_MS, signal);
    });
    acquired.add(statusLoop, "cameras' states", async (ended) => {
      await ended;
      for (const id of ids) board.state(id, "offline", "the detector has stopped");
      await Promise.race([board.write().then(() => board.write()), clock.sleep(1_000)]);
    });
    acquired.add(underWay, "looks under way", async (works) => {
      while (works.size > 0) await Promise.all(works);
    });
    acquired.add(schedule, "schedule", (slots) => slots.clear());
    const started = ids.map((id) => {
      const camera = watched.get(id) as Watched;
      const source = parts.sources({
        cameraId: id,
        source: camera.camera.source,
        intervalMs: camera.intervalMs,
        startAtSeconds: camera.camera.startAtSeconds ?? 0,
        loop: camera.camera.loop ?? true,
        inputSize: pool.inputSize,
        sink: {
          state: (state, text) => board.state(id, state, text),
          frame: (frame) => {
            const { width, height } = frame.picture.layout;
            const replaced = schedule.offer(id, frame);
            board.arrived(id, { capturedAtMs: frame.capturedAtMs, width, height }, replaced);
            lookAround();
          },
        },
      });
      return source;
    });
    acquired.add(started, "cameras' sources", (sources) => Promise.all(sources.map((source) => source.stop())));
    await Promise.all(started.map((source) => source.start()));

    toPublish = () => outbox.toPublish(watched.size);
    detail = () => {
      const { online, cameras: all, detected, dropped } = board.totals();
      const lost = outbox.dropped > 0 ? `, ${outbox.dropped} detections dropped while the topic was away` : "";
      const twice = parts.topics.publishedAgain();
      const again = twice > 0 ? `, ${twice} detections published again that the store had forgotten` : "";
      return `${online} of ${all} cameras online, ${detected} frames looked at, ${dropped} dropped${lost}${again}`;
    };
  });
  return Object.assign(base, { detail: () => detail(), toPublish: () => toPublish() });
}

type Parcelled = Detection & { cameraId: string };

/** Boxes of one look into tracked objects and groups with features; moves the camera's tracks on. */
function understand(camera: Watched, boxes: readonly Box[], capturedAtMs: number): Sight {
  const before = camera.tracks;
  const rule = { ...BYTE_TRACK, lostAfterMs: Math.max(BYTE_TRACK.lostAfterMs, 3 * camera.intervalMs) };
  const { tracked, state } = track(before, boxes.map(rounded), capturedAtMs, rule);
  camera.tracks = state;
  const { distancePx = BX.distancePx, minObjects = BX.minObjects } = camera.camera;
  const seenBefore = before.tracks.filter((known) => known.seenAtMs === before.atMs);
  const then =
    before.atMs === null
      ? null
      : {
          bboxes: new Map(seenBefore.map((known) => [known.id, known.bbox])),
          secondsAgo: (capturedAtMs - before.atMs) / 1000,
        };
  const objects: DetectedObject[] = tracked.map((object) => ({ ...object }));
  const groups = cluster(objects, { distancePx, minObjects });
  return { objects, groups: groups.map((group) => ({ ...group, features: featuresOf(group, objects, then) })) };
}

/** Digits beyond these are noise, and half of a message's bytes. */
function rounded({ class: name, confidence, bbox }: Box): Box {
  const to = (value: number, digits: number) => Math.round(value * 10 ** digits) / 10 ** digits;
  return { class: name, confidence: to(confidence, 4), bbox: bbox.map((px) => to(px, 2)) as Bbox };
}

function detectionOf(camera: Watched, frame: Frame, sight: Sight, detectedAtMs: number, nowMs: number): Parcelled {
  const { width, height } = frame.picture.layout;
  return {
    messageId: randomUUID(),
    cameraId: camera.camera.id,
    timestamp: iso(nowMs),
    capturedAt: iso(frame.capturedAtMs),
    detectedAt: iso(detectedAtMs),
    imageWidth: width,
    imageHeight: height,
    detectedObjects: sight.objects,
    trafficGroups: sight.groups,
    groupImages: [],
  };
}

function previewHeader(detection: Parcelled, capturedAtMs: number, detectedAtMs: number): PreviewHeader {
  return {
    cameraId: detection.cameraId,
    messageId: detection.messageId,
    capturedAtMs,
    detectedAtMs,
    imageWidth: detection.imageWidth,
    imageHeight: detection.imageHeight,
    objects: detection.detectedObjects.map(({ class: name, confidence, bbox, trackId }) => ({
      class: name,
      confidence,
      bbox,
      ...(trackId === undefined ? {} : { trackId }),
    })),
    groups: detection.trafficGroups.map(({ groupIndex, bbox, features, classes }) => ({
      groupIndex,
      bbox,
      score: scoreGroup(features, classes),
    })),
  };
}

const iso = (ms: number) => new Date(ms).toISOString();
