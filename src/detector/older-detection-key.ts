/**
 * The key `detection:<messageId>` by which an older aggregator finds a frame's groups when its results come. Ours is written
 * before the message goes out, so that no verdict can overtake it; the older pipeline's own comes after.
 */
import type { Beside } from "../store.ts";
import { cropRegion } from "./crop.ts";
import type { Parcel } from "./detection-outbox.ts";

const KEPT_SECONDS = 300;

export interface OlderDetectionKeys {
  /** Resolves when the keys are there, or cannot be had in time: that costs an older reader its frame, and us nothing. */
  write(parcels: readonly Parcel[]): Promise<void>;
}

export function createOlderDetectionKeys(older: Beside): OlderDetectionKeys {
  return {
    async write(parcels) {
      await older.ask(async (redis) => {
        const all = redis.pipeline();
        for (const parcel of parcels) {
          const { messageId } = parcel.detection;
          all.set(`detection:${messageId}`, JSON.stringify(olderFrame(parcel)), "EX", KEPT_SECONDS);
        }
        for (const [error] of (await all.exec()) ?? []) if (error) throw error;
      });
    },
  };
}

/** The frame as the older pipeline keeps it, its pictures twice, as there. */
export function olderFrame({ detection, crops }: Parcel) {
  const { messageId, cameraId, timestamp, detectedObjects, trafficGroups, imageWidth, imageHeight } = detection;
  const groupImages = crops.flatMap(({ groupIndex, jpeg }) => {
    const group = trafficGroups.find((one) => one.groupIndex === groupIndex);
    if (!group) return [];
    const { objectCount, classes, bbox, memberIndices } = group;
    const region = cropRegion(bbox, { width: imageWidth, height: imageHeight });
    const imageBase64 = jpeg.toString("base64");
    const picture = { imageBase64, dataUri: `data:image/jpeg;base64,${imageBase64}` };
    const size = { imageWidth: region?.width ?? 0, imageHeight: region?.height ?? 0 };
    return [{ groupIndex, objectCount, classes, bbox, ...size, ...picture, riskLevel: "none", memberIndices }];
  });
  return {
    ...{ cameraId, timestamp, detectedObjects },
    trafficGroups: trafficGroups.map((group) => ({ ...group, riskLevel: "none" })),
    ...{ groupImages, imageWidth, imageHeight, messageId },
  };
}
