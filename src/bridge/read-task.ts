/**
 * Reads a message of the tasks topic - of our own bridge, of an older task generator or of a stream job that does the
 * fan-out - as a detection of one group, so that one way of admission goes for both topics.
 */
import { z } from "zod";
import { Bbox, CameraId, type DetectedObject, TrafficGroup } from "../messages.ts";
import { impliedGroup, NO_BOX, type Reading, readEnvelope, readObjects } from "./read-detection.ts";

/** No frame has so many objects; what names a larger index is not believed. */
const MOST_OBJECTS = 10_000;

const text = () => z.string().min(1).max(300).optional().catch(undefined);

const Envelope = z.looseObject({
  taskId: text(),
  requestId: text(),
  cameraId: CameraId,
  timestamp: text(),
  groupIndex: z.number().int(),
  groupImageBase64: z.string().optional().catch(undefined),
  groupImageUrl: z.string().optional().catch(undefined),
  /** The group's members only. */
  detectedObjects: z.array(z.unknown()).catch([]),
  groupMetadata: z
    .looseObject({
      objectCount: z.number().int().catch(0),
      classes: z.array(z.string()).catch([]),
      /** Empty where the generator found no such group. */
      bbox: Bbox.optional().catch(undefined),
    })
    .optional()
    .catch(undefined),
  // Of our own, and of a stream job that passes on what it knows:
  capturedAt: text(),
  detectedAt: text(),
  imageWidth: z.number().catch(0),
  imageHeight: z.number().catch(0),
  imageHash: text(),
  /** Places of `detectedObjects` in the detection's own list. */
  memberIndices: z.array(z.number().int().min(0).max(MOST_OBJECTS)).optional().catch(undefined),
  features: TrafficGroup.shape.features.catch(undefined),
});

/** Never throws, whatever the bytes are. */
export function readTask(value: Buffer): Reading {
  const parsed = readEnvelope(Envelope, value);
  if (parsed.kind === "unreadable") return parsed;
  const { groupIndex, groupMetadata, features, ...task } = parsed.envelope;
  const known = namesEach(task.memberIndices, task.detectedObjects.length) ? task.memberIndices : undefined;
  const members = readObjects(task.detectedObjects);
  const objects = known ? placed(members, known) : members;
  const image = { imageUrl: task.groupImageUrl, imageBase64: task.groupImageBase64, imageHash: task.imageHash };
  // Without a detection's id the older generator calls every task None_group1.
  const taskId = task.requestId === undefined ? undefined : task.taskId;
  return {
    kind: "detection",
    detection: {
      messageId: task.requestId ?? null,
      cameraId: task.cameraId,
      timestamp: task.timestamp ?? null,
      capturedAt: task.capturedAt ?? null,
      detectedAt: task.detectedAt ?? null,
      imageWidth: task.imageWidth,
      imageHeight: task.imageHeight,
      objects,
      groups: [
        {
          groupIndex,
          ...(taskId !== undefined && { taskId }),
          group: {
            ...impliedGroup(groupIndex, objects, groupMetadata?.bbox ?? NO_BOX),
            ...(known && { memberIndices: [...known] }),
            objectCount: groupMetadata?.objectCount ?? 0,
            classes: groupMetadata?.classes ?? [],
            ...(features && { features }),
          },
          fault: "",
          image: { groupIndex, ...image },
        },
      ],
    },
  };
}

const namesEach = (indices: readonly number[] | undefined, count: number) =>
  indices?.length === count && new Set(indices).size === count;

/** Each object where it stood in the detection: verdicts name objects by that place. */
function placed(members: readonly (DetectedObject | null)[], indices: readonly number[]) {
  const objects: (DetectedObject | null)[] = new Array(Math.max(-1, ...indices) + 1).fill(null);
  for (const [i, index] of indices.entries()) objects[index] = members[i] ?? null;
  return objects;
}
