/** One task for every entry of a detection's `trafficGroups`, also for those that cannot be judged. Pure. */
import type { CameraPolicy } from "../cameras.ts";
import { IMAGE_REFERENCE } from "../images/image-store.ts";
import type { AssessmentTask, DetectedObject, GroupFeatures } from "../messages.ts";
import { scoreGroup } from "../score.ts";
import type { TopicMessage } from "../topics/topic-log.ts";
import { NO_BOX, type ReadDetection, type ReadGroup } from "./read-detection.ts";

export interface NewTask {
  task: AssessmentTask;
  /** Bytes that an older producer sent inline; they go into the image store before admission. */
  inlineImage: Buffer | null;
  /** It cannot be judged: it ends as failed at once. */
  failed?: { code: string; message: string };
}

/** Where the message stood in its topic: names what has no id, and stands in for a capture time that cannot be trusted. */
export type Place = Pick<TopicMessage, "topic" | "shard" | "position" | "appendedAtMs" | "headers">;

/** Capture times further than this from the append are not believed (ms before, ms after). */
const OLDEST_CAPTURE_MS = 60_000;
const CLOCK_SKEW_MS = 2_000;

export function messageIdOf(detection: ReadDetection, place: Place): string {
  return detection.messageId ?? `${place.topic}-${place.shard}-${place.position}`;
}

export function groupsToTasks(
  detection: ReadDetection,
  place: Place,
  policy: CameraPolicy,
): { tasks: NewTask[]; captureTrusted: boolean } {
  const { capturedAtMs, trusted } = captureTime(detection, place);
  const detectedAtMs = Math.max(parseTime(detection.detectedAt) ?? capturedAtMs, capturedAtMs);
  const messageId = messageIdOf(detection, place);
  const seen = new Map<number, number>();
  const tasks = detection.groups.map((entry): NewTask => {
    const nth = (seen.get(entry.groupIndex) ?? 0) + 1;
    seen.set(entry.groupIndex, nth);
    const taskId = entry.taskId ?? `${messageId}_group${entry.groupIndex}${nth > 1 ? `_${nth}` : ""}`;
    const image = imageOf(entry);
    const memberIndices = membersOf(entry, detection.objects);
    const objects = memberIndices.map((i) => detection.objects[i]).filter((object) => !!object);
    const features = entry.group?.features ? knownFeatures(entry.group.features) : null;
    const task: AssessmentTask = {
      taskId,
      requestId: messageId,
      cameraId: detection.cameraId,
      timestamp: detection.timestamp ?? new Date(place.appendedAtMs).toISOString(),
      groupIndex: entry.groupIndex,
      imageUrl: image.kind === "reference" ? image.reference : null,
      imageHash: hashOf(entry),
      objects: objects.map(knownFields),
      memberIndices,
      bbox: entry.group?.bbox ?? NO_BOX,
      imageWidth: detection.imageWidth,
      imageHeight: detection.imageHeight,
      features,
      score: scoreGroup(features, entry.group?.classes ?? []),
      capturedAtMs,
      detectedAtMs,
      ...policy,
      ...(place.headers.traceparent && { traceparent: place.headers.traceparent }),
    };
    const failed = entry.group
      ? image.kind === "unusable"
        ? image.failed
        : undefined
      : { code: "GROUP_UNREADABLE", message: entry.fault.slice(0, 500) };
    return { task, inlineImage: image.kind === "inline" ? image.bytes : null, ...(failed && { failed }) };
  });
  return { tasks, captureTrusted: trusted };
}

/** Those that can be read; all objects where the group names none, as in the older generator's tasks. */
function membersOf({ group }: ReadGroup, objects: ReadDetection["objects"]): number[] {
  if (!group) return [];
  const named = group.memberIndices.length > 0 ? group.memberIndices : objects.keys();
  return [...new Set(named)].filter((i) => objects[i]);
}

/** Without what other producers add: a task stays small, flat and readable whatever they add. */
function knownFields({ class: name, confidence, bbox, trackId }: DetectedObject): DetectedObject {
  return { class: name.slice(0, 100), confidence, bbox, ...(trackId !== undefined && { trackId }) };
}

function knownFeatures(features: GroupFeatures): GroupFeatures {
  const { vulnerableToVehiclePx, vulnerableToVehicleHeights, closingSpeedPxPerSecond, maxOverlap } = features;
  return { vulnerableToVehiclePx, vulnerableToVehicleHeights, closingSpeedPxPerSecond, maxOverlap };
}

/** Only what can be compared. */
const hashOf = ({ image }: ReadGroup) =>
  /^[0-9a-f]{16}$/.test(image?.imageHash ?? "") ? (image?.imageHash ?? null) : null;

type Image =
  | { kind: "reference"; reference: string }
  | { kind: "inline"; bytes: Buffer }
  | { kind: "unusable"; failed: { code: string; message: string } };

function imageOf({ image }: ReadGroup): Image {
  if (image?.imageUrl) {
    if (IMAGE_REFERENCE.test(image.imageUrl)) return { kind: "reference", reference: image.imageUrl };
    if (!image.imageBase64)
      return {
        kind: "unusable",
        failed: { code: "IMAGE_FOREIGN", message: "imageUrl is no reference into this image store; it is not fetched" },
      };
  }
  if (!image?.imageBase64)
    return { kind: "unusable", failed: { code: "IMAGE_MISSING", message: "the detection has no image of this group" } };
  const bytes = Buffer.from(image.imageBase64.replace(/^data:image\/[a-z+.-]+;base64,/i, ""), "base64");
  if (!isPicture(bytes))
    return {
      kind: "unusable",
      failed: {
        code: "IMAGE_UNREADABLE",
        message: `imageBase64 holds ${bytes.length} bytes that begin neither as JPEG nor as PNG`,
      },
    };
  return { kind: "inline", bytes };
}

const isPicture = (bytes: Buffer) =>
  (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) ||
  bytes.subarray(0, 4).equals(Buffer.from([0x89, 0x50, 0x4e, 0x47]));

/** When the scene was captured, by the best stamp that is there and plausible beside the append. */
function captureTime(detection: ReadDetection, place: Place): { capturedAtMs: number; trusted: boolean } {
  const stated = parseTime(detection.capturedAt) ?? parseTime(detection.timestamp);
  if (
    stated !== undefined &&
    stated >= place.appendedAtMs - OLDEST_CAPTURE_MS &&
    stated <= place.appendedAtMs + CLOCK_SKEW_MS
  )
    return { capturedAtMs: stated, trusted: true };
  return { capturedAtMs: place.appendedAtMs, trusted: false };
}

function parseTime(text: string | null): number | undefined {
  if (!text) return undefined;
  const ms = Date.parse(text);
  return Number.isFinite(ms) ? ms : undefined;
}
