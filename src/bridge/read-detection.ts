/**
 * Reads a message of the detections topic, of ours and of older producers, forgivingly: only an envelope that cannot be
 * read, or one without a list of groups, is no detection. A bad group or image stays with that group alone.
 */
import { z } from "zod";
import { parseForgiving } from "../forgiving-json.ts";
import { Bbox, CameraId, DetectedObject, type GroupImage, TrafficGroup } from "../messages.ts";

/** What producers may leave out or spoil (a NaN, say) without anybody being the wiser. */
const Envelope = z.looseObject({
  messageId: z.string().min(1).max(200).optional().catch(undefined),
  cameraId: CameraId,
  timestamp: z.string().optional().catch(undefined),
  capturedAt: z.string().optional().catch(undefined),
  detectedAt: z.string().optional().catch(undefined),
  imageWidth: z.number().catch(0),
  imageHeight: z.number().catch(0),
  detectedObjects: z.array(z.unknown()).catch([]),
  trafficGroups: z.array(z.unknown()).optional().catch(undefined),
  groupImages: z.array(z.unknown()).catch([]),
});

const Group = TrafficGroup.extend({
  objectCount: z.number().int().catch(0),
  classes: z.array(z.string()).catch([]),
  averageConfidence: z.number().catch(0),
  memberIndices: z.array(z.number().int()).catch([]),
  features: TrafficGroup.shape.features.catch(undefined),
});

/** Without the rest: older producers send the picture a second time, as data URI, and it is half of the message. */
export const ReadImage = z.object({
  groupIndex: z.number().int(),
  imageUrl: z.string().optional().catch(undefined),
  imageBase64: z.string().optional().catch(undefined),
  imageHash: z.string().optional().catch(undefined),
  bbox: Bbox.optional().catch(undefined),
});
export type ReadImage = z.infer<typeof ReadImage> & GroupImage;

export interface ReadGroup {
  /** As the producer numbered it; its place from 1 when it had no number. */
  groupIndex: number;
  /** As it came (a task has one already); absent: made of the message's id and the group's index. */
  taskId?: string;
  /** Null: the entry could not be read; `fault` says why. */
  group: TrafficGroup | null;
  fault: string;
  image: ReadImage | null;
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
  const parsed = readEnvelope(Envelope, value);
  if (parsed.kind === "unreadable") return parsed;
  const { detectedObjects, trafficGroups, groupImages, ...envelope } = parsed.envelope;
  const objects = readObjects(detectedObjects);
  const images = groupImages.flatMap((image) => ReadImage.safeParse(image).data ?? []);
  if (!trafficGroups && groupImages.length === 0)
    return { kind: "unreadable", why: "trafficGroups: there is no list of groups" };
  // Images alone are groups too, as they are for the older task generator, which looks at nothing else.
  const groups = trafficGroups?.length
    ? trafficGroups.map(readGroup)
    : images.map(({ groupIndex, bbox }) => ({ groupIndex, group: impliedGroup(groupIndex, objects, bbox), fault: "" }));
  return {
    kind: "detection",
    detection: {
      messageId: envelope.messageId ?? null,
      cameraId: envelope.cameraId,
      timestamp: envelope.timestamp ?? null,
      capturedAt: envelope.capturedAt ?? null,
      detectedAt: envelope.detectedAt ?? null,
      imageWidth: envelope.imageWidth,
      imageHeight: envelope.imageHeight,
      objects,
      groups: withImages(groups, images),
    },
  };
}

/** The bytes as JSON of that shape, or why not. Never throws. */
export function readEnvelope<T>(
  schema: z.ZodType<T>,
  value: Buffer,
): { kind: "envelope"; envelope: T } | { kind: "unreadable"; why: string } {
  let json: unknown;
  try {
    json = parseForgiving(value);
  } catch (error) {
    const why = error instanceof Error ? error.message.slice(0, 200) : String(error);
    return { kind: "unreadable", why: `no JSON: ${why}` };
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return { kind: "envelope", envelope: parsed.data };
  return { kind: "unreadable", why: inWords(parsed.error, "message") };
}

export const readObjects = (objects: readonly unknown[]): (DetectedObject | null)[] =>
  objects.map((object) => DetectedObject.safeParse(object).data ?? null);

/** A group of which only the picture is known: every object may be in it. */
export function impliedGroup(
  groupIndex: number,
  objects: readonly (DetectedObject | null)[],
  bbox: Bbox | undefined,
): TrafficGroup {
  const memberIndices = objects.flatMap((object, i) => (object ? [i] : []));
  return {
    groupIndex,
    objectCount: 0,
    bbox: bbox ?? NO_BOX,
    classes: [],
    averageConfidence: 0,
    memberIndices,
  };
}

export const NO_BOX: Bbox = [0, 0, 0, 0];

function readGroup(entry: unknown, i: number): Omit<ReadGroup, "image"> {
  const group = Group.safeParse(entry);
  const groupIndex = group.data?.groupIndex ?? numberIn(entry, "groupIndex") ?? i + 1;
  const fault = group.success ? "" : inWords(group.error, "group");
  return { groupIndex, group: group.data ?? null, fault };
}

/** Each group its image; of several with one index the nth has the nth image, as far as there are so many. */
function withImages(groups: readonly Omit<ReadGroup, "image">[], images: readonly ReadImage[]): ReadGroup[] {
  const byIndex = Map.groupBy(images, ({ groupIndex }) => groupIndex);
  const seen = new Map<number, number>();
  return groups.map((group) => {
    const nth = seen.get(group.groupIndex) ?? 0;
    seen.set(group.groupIndex, nth + 1);
    const own = byIndex.get(group.groupIndex);
    return { ...group, image: own?.[nth] ?? own?.[0] ?? null };
  });
}

const inWords = (error: z.ZodError, whole: string) =>
  error.issues.map((issue) => `${issue.path.join(".") || whole}: ${issue.message}`).join("; ");

function numberIn(value: unknown, field: string): number | undefined {
  const found = typeof value === "object" && value !== null ? (value as Record<string, unknown>)[field] : undefined;
  return typeof found === "number" && Number.isSafeInteger(found) ? found : undefined;
}
