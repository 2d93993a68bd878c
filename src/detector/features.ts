/** What a group's boxes alone tell about its danger: computed beside the clustering, never part of it. */
import type { Bbox, DetectedObject, GroupFeatures, TrafficGroup } from "../messages.ts";
import { gap, height, iou } from "./geometry.ts";

const VULNERABLE: readonly string[] = ["person", "bicycle", "motorcycle"];
const VEHICLES: readonly string[] = ["car", "bus", "truck"];

/** Where tracked objects were at the look before. */
export interface Before {
  bboxes: ReadonlyMap<number, Bbox>;
  /** How long ago that was. */
  secondsAgo: number;
}

export function featuresOf(
  group: TrafficGroup,
  objects: readonly DetectedObject[],
  before: Before | null,
): GroupFeatures {
  const members = group.memberIndices.flatMap((i) => objects[i] ?? []);
  let nearest: { vulnerable: DetectedObject; vehicle: DetectedObject; px: number } | undefined;
  let maxOverlap = 0;
  for (const vulnerable of members.filter((member) => VULNERABLE.includes(member.class))) {
    for (const vehicle of members.filter((member) => VEHICLES.includes(member.class))) {
      const px = gap(vulnerable.bbox, vehicle.bbox);
      if (!nearest || px < nearest.px) nearest = { vulnerable, vehicle, px };
      maxOverlap = Math.max(maxOverlap, iou(vulnerable.bbox, vehicle.bbox));
    }
  }
  if (!nearest) {
    return {
      vulnerableToVehiclePx: null,
      vulnerableToVehicleHeights: null,
      closingSpeedPxPerSecond: null,
      maxOverlap,
    };
  }
  const smaller = Math.min(height(nearest.vulnerable.bbox), height(nearest.vehicle.bbox));
  return {
    vulnerableToVehiclePx: nearest.px,
    vulnerableToVehicleHeights: smaller > 0 ? nearest.px / smaller : null,
    closingSpeedPxPerSecond: closingSpeed(nearest, before),
    maxOverlap,
  };
}

/** Null when one of the two was not seen at the look before. */
function closingSpeed(
  { vulnerable, vehicle, px }: { vulnerable: DetectedObject; vehicle: DetectedObject; px: number },
  before: Before | null,
): number | null {
  if (!before || !(before.secondsAgo > 0)) return null;
  const then = [vulnerable, vehicle].map(({ trackId }) =>
    trackId === undefined ? undefined : before.bboxes.get(trackId),
  );
  const [vulnerableThen, vehicleThen] = then;
  if (!vulnerableThen || !vehicleThen) return null;
  return (gap(vulnerableThen, vehicleThen) - px) / before.secondsAgo;
}
