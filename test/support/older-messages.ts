/** Messages as the parts of the older Python system write them: their fields, their JSON, their oddities. */
import { randomUUID } from "node:crypto";
import { crop } from "./pipeline.ts";

/** json.dumps: a space after comma and colon, and NaN and Infinity as they are. */
export function pythonJson(value: unknown): string {
  if (typeof value === "number" && !Number.isFinite(value))
    return Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value ?? null);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}: ${pythonJson(field)}`).join(", ")}}`;
}

/** datetime.utcnow().isoformat() + "Z": six digits of a second, or none when the microseconds are 0. */
export const utcnow = (micros = "123456") =>
  new Date().toISOString().replace(/\.\d+Z$/, micros === "" ? "Z" : `.${micros}Z`);

export const base64 = crop.toString("base64");

export const olderObjects = () =>
  ["car", "person", "truck", "bus"].map((name, i) => ({
    class: name,
    confidence: 0.8571428571428571,
    bbox: [10.5 + i * 300, 20.25, 60.5 + i * 300, 80.75],
    level: 0,
  }));

export function olderGroup(groupIndex: number, memberIndices: number[], more: object = {}) {
  const bbox = [10.5 + groupIndex * 300, 20.25, 160.5 + groupIndex * 300, 80.75];
  const group = { groupIndex, objectCount: 2, bbox, classes: ["car", "person"], averageConfidence: 0.85 };
  const again = { memberCount: 2, avgConfidence: 0.85, groupBbox: bbox, riskLevelRaw: "none" };
  return { ...group, riskLevel: "none", memberIndices, ...again, ...more };
}

export const olderImage = (groupIndex: number, more: object = {}) => ({
  ...{ groupIndex, objectCount: 2, classes: ["car", "person"], imageBase64: base64 },
  dataUri: `data:image/jpeg;base64,${base64}`,
  ...more,
});

/** The pipeline's own: two groups of a frame. */
export function olderDetection(more: object = {}) {
  return {
    messageId: randomUUID(),
    cameraId: 1,
    timestamp: utcnow(),
    frameTimestamp: Date.now() / 1000 - 8 * 3_600,
    detectedObjects: olderObjects(),
    trafficGroups: [olderGroup(1, [0, 1]), olderGroup(2, [2, 3])],
    groupImages: [olderImage(1), olderImage(2)],
    imageWidth: 1920,
    imageHeight: 1080,
    detectionLatency: 0.0421,
    modelType: "yolov8n.pt",
    ...more,
  };
}

/** The test script's: whole numbers, objectId, a prefix before what is no whole JPEG, boxes with the images, local time. */
export function scriptDetection(more: object = {}) {
  const objects = [1, 2].map((objectId) => ({
    ...{ objectId, class: objectId === 1 ? "car" : "person", confidence: 0.9, bbox: [100 * objectId, 100, 150, 200] },
  }));
  const local = new Date(Date.now() + 8 * 3_600_000).toISOString().replace(/\.\d+Z$/, ".000Z");
  return {
    messageId: randomUUID(),
    cameraId: 2,
    timestamp: local,
    detectedObjects: objects,
    trafficGroups: [
      {
        groupIndex: 1,
        objectCount: 2,
        bbox: [90, 90, 210, 210],
        classes: ["car", "person"],
        averageConfidence: 0.9,
        memberIndices: [0, 1],
      },
    ],
    groupImages: [
      {
        groupIndex: 1,
        objectCount: 2,
        classes: ["car", "person"],
        bbox: [90, 90, 210, 210],
        imageBase64: "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD...",
      },
    ],
    imageWidth: 1920,
    imageHeight: 1080,
    ...more,
  };
}

/** The older task generator's task of the nth group image of a detection (simple_generator.py). */
export function olderTask(detection: ReturnType<typeof olderDetection>, nth: number, more: object = {}) {
  const image = detection.groupImages[nth] ?? olderImage(nth + 1);
  const group = detection.trafficGroups.find(({ groupIndex }) => groupIndex === image.groupIndex);
  const members = group?.memberIndices.flatMap((i) => detection.detectedObjects[i] ?? []);
  return {
    messageId: randomUUID(),
    taskId: `${detection.messageId}_group${image.groupIndex}`,
    requestId: detection.messageId,
    cameraId: detection.cameraId,
    timestamp: detection.timestamp,
    groupIndex: image.groupIndex,
    groupImageBase64: image.imageBase64,
    groupImageUrl: "",
    detectedObjects: members?.length ? members : detection.detectedObjects,
    groupMetadata: group
      ? { objectCount: group.objectCount, classes: group.classes, bbox: group.bbox }
      : { objectCount: 0, classes: [] as string[], bbox: [] as number[] },
    ...more,
  };
}
