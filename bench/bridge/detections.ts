/** Detection messages as a busy plant has them: fifty cameras, two groups a frame, about 2 KB each without pictures. */
import { readDetection } from "../../src/bridge/read-detection.ts";
import type { CameraPolicy } from "../../src/cameras.ts";
import type { OutgoingMessage } from "../../src/topics/topic-log.ts";

/** Nothing expires, nothing is used again. */
export const POLICY: CameraPolicy = { freshnessSeconds: 0, reuseSeconds: 0 };

/** Detections, all of them judged here. */
export const OURS = { read: readDetection, leftToUs: false, isJudgedElsewhere: () => false, inlineImages: false };

export interface DetectionOptions {
  /** Of each frame. Default 2. */
  groups?: number;
  /** That take turns. Default 50. */
  cameras?: number;
  /** Of the picture that each message carries. Default 0: its groups' crops are references. */
  inlineBytes?: number;
  /** Number of the first one. Default 0. */
  from?: number;
  /** The reference of every crop. Default: one of its own, behind which there is nothing. */
  imageUrl?: string;
}

export function detectionMessages(count: number, options: DetectionOptions = {}): OutgoingMessage[] {
  return Array.from({ length: count }, (_, i) => detectionMessage((options.from ?? 0) + i, options));
}

function detectionMessage(
  nth: number,
  { groups = 2, cameras = 50, inlineBytes = 0, imageUrl }: DetectionOptions,
): OutgoingMessage {
  const camera = `camera-${nth % cameras}`;
  const at = new Date().toISOString();
  const objects = Array.from({ length: Math.max(2, groups * 3) }, (_, i) => ({
    class: i % 3 ? "person" : "car",
    confidence: 0.9,
    bbox: [40 * i, 10, 40 * i + 30, 60],
    trackId: nth * 10 + i,
  }));
  const value = {
    messageId: `bench-${nth}`,
    cameraId: camera,
    timestamp: at,
    capturedAt: at,
    detectedAt: at,
    imageWidth: 1920,
    imageHeight: 1080,
    detectedObjects: objects,
    trafficGroups: Array.from({ length: groups }, (_, g) => ({
      groupIndex: g + 1,
      objectCount: 3,
      bbox: [120 * g, 10, 120 * g + 110, 60],
      classes: ["car", "person", "person"],
      averageConfidence: 0.9,
      memberIndices: [3 * g, 3 * g + 1, 3 * g + 2],
    })),
    groupImages: Array.from({ length: groups }, (_, g) => ({
      groupIndex: g + 1,
      ...(inlineBytes > 0
        ? { imageBase64: `data:image/jpeg;base64,${jpegOf(Math.floor(inlineBytes / groups)).toString("base64")}` }
        : { imageUrl: imageUrl ?? `vigilane:images/${camera}/2026010100/bench-${nth}-${g}.jpg` }),
    })),
  };
  return { key: camera, value: Buffer.from(JSON.stringify(value)) };
}

/** Begins and ends as a JPEG does; between them no picture that anybody could decode. */
function jpegOf(bytes: number): Buffer {
  const picture = Buffer.alloc(bytes, 0x5a);
  picture.set([0xff, 0xd8, 0xff, 0xe0], 0);
  picture.set([0xff, 0xd9], bytes - 2);
  return picture;
}
