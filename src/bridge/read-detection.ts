/**
 * Reads a message of the detections topic, of ours and of older producers, forgivingly: only an envelope that cannot be
 * read, or one without a list of groups, is no detection. A bad group or image stays with that group alone.
 */
import { z } from "zod";
import { CameraId, DetectedObject, GroupImage, TrafficGroup } from "../messages.ts";

const Envelope = z.looseObject({
  messageId: z.string().min(1).max(200).optional().catch(undefined),
  cameraId: CameraId,
  timestamp: z.string().optional().catch(undefined),
  capturedAt: z.string().optional().catch(undefined),
  detectedAt: z.string().optional().catch(undefined),
  imageWidth: z.number().catch(0),
  imageHeight: z.number().catch(0),
  detectedObjects: z.array(z.unknown()).catch([]),
  trafficGroups: z.array(z.unknown()),
  groupImages: z.array(z.unknown()).catch([]),
});

export interface ReadGroup {
  /** As the producer numbered it; its place from 1 when it had no number. */
  groupIndex: number;
  /** Null: the entry could not be read; `fault` says why. */
  group: TrafficGroup | null;
  fault: string;
  image: GroupImage | null;
}

export interface ReadDetection {
  messageId: string | null;
  cameraId: CameraId;
  timestamp: string | null;
  capturedAt: string | null;
  detectedAt: string | null;
  imageWidth: number;
  imageHeight: number;
  /** By index; null: that object could not be read. */
  objects: (DetectedObject | null)[];
  groups: ReadGroup[];
}

export type Reading = { kind: "detection"; detection: ReadDetection } | { kind: "unreadable"; why: string };

/** Never throws, whatever the bytes are. */
export function readDetection(value: Buffer): Reading {
  let json: unknown;
  try {
    json = parseForgiving(value);
  } catch (error) {
    return {
      kind: "unreadable",
      why: `no JSON: ${error instanceof Error ? error.message.slice(0, 200) : String(error)}`,
    };
  }
  const parsed = Envelope.safeParse(json);
  if (!parsed.success) {
    return {
      kind: "unreadable",
      why: parsed.error.issues.map((issue) => `${issue.path.join(".") || "message"}: ${issue.message}`).join("; "),
    };
  }
  const {
    messageId,
    cameraId,
    timestamp,
    capturedAt,
    detectedAt,
    imageWidth,
    imageHeight,
    detectedObjects,
    trafficGroups,
    groupImages,
  } = parsed.data;
  const objects = detectedObjects.map((object) => DetectedObject.safeParse(object).data ?? null);
  const images = groupImages.flatMap((image) => GroupImage.safeParse(image).data ?? []);
  const groups = trafficGroups.map((entry, i): ReadGroup => {
    const group = TrafficGroup.safeParse(entry);
    const groupIndex = group.data?.groupIndex ?? numberIn(entry, "groupIndex") ?? i + 1;
    const fault = group.success
      ? ""
      : group.error.issues.map((issue) => `${issue.path.join(".") || "group"}: ${issue.message}`).join("; ");
    return {
      groupIndex,
      group: group.data ?? null,
      fault,
      image: images.find((image) => image.groupIndex === groupIndex) ?? null,
    };
  });
  return {
    kind: "detection",
    detection: {
      messageId: messageId ?? null,
      cameraId,
      timestamp: timestamp ?? null,
      capturedAt: capturedAt ?? null,
      detectedAt: detectedAt ?? null,
      imageWidth,
      imageHeight,
      objects,
      groups,
    },
  };
}

/** JSON, and the NaN and Infinity that Python writes, which become null (outside of strings only). */
function parseForgiving(value: Buffer): unknown {
  const text = value.toString("utf8");
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!/NaN|Infinity/.test(text)) throw error;
    return JSON.parse(
      text.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g, (match) => (match.startsWith('"') ? match : "null")),
    );
  }
}

function numberIn(value: unknown, field: string): number | undefined {
  const found = typeof value === "object" && value !== null ? (value as Record<string, unknown>)[field] : undefined;
  return typeof found === "number" && Number.isSafeInteger(found) ? found : undefined;
}
