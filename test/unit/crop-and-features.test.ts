import { expect, test } from "vitest";
import { cluster } from "../../src/detector/cluster.ts";
import { cropRegion } from "../../src/detector/crop.ts";
import { featuresOf } from "../../src/detector/features.ts";
import type { Bbox, DetectedObject } from "../../src/messages.ts";
import { scoreGroup } from "../../src/score.ts";

const frame = { width: 640, height: 480 };

test("crops have a margin, are cut at the edges and truncated", () => {
  expect(cropRegion([100.9, 50.2, 200.9, 150.9], frame)).toEqual({ left: 88, top: 38, width: 124, height: 124 });
  expect(cropRegion([5, 5, 639, 479], frame)).toEqual({ left: 0, top: 0, width: 640, height: 480 });
  expect(cropRegion([700, 5, 800, 50], frame)).toBeNull();
  expect(cropRegion([Number.NaN, 5, 800, 50], frame)).toBeNull();
});

const object = (name: string, bbox: Bbox, trackId?: number): DetectedObject => ({
  class: name,
  confidence: 0.9,
  bbox,
  ...(trackId === undefined ? {} : { trackId }),
});

function features(objects: DetectedObject[], before: Parameters<typeof featuresOf>[2] = null) {
  const [group] = cluster(objects);
  if (!group) throw new Error("no group");
  return {
    ...featuresOf(group, objects, before),
    score: scoreGroup(featuresOf(group, objects, before), group.classes),
  };
}

test("the nearest vulnerable road user and vehicle, in pixels and in heights", () => {
  const found = features([
    object("person", [0, 0, 20, 60]),
    object("car", [50, 0, 130, 40]),
    object("person", [100, 0, 120, 60]),
  ]);
  expect(found).toMatchObject({
    vulnerableToVehiclePx: 0,
    vulnerableToVehicleHeights: 0,
    closingSpeedPxPerSecond: null,
  });
  expect(found.maxOverlap).toBeCloseTo((20 * 40) / (20 * 60 + 80 * 40 - 20 * 40));
});

test("closing speed is how much nearer the pair came since the look before", () => {
  const now = [object("person", [0, 0, 20, 60], 1), object("car", [50, 0, 130, 40], 2)];
  const bboxes = new Map<number, Bbox>([
    [1, [0, 0, 20, 60]],
    [2, [110, 0, 190, 40]],
  ]);
  expect(features(now, { bboxes, secondsAgo: 2 }).closingSpeedPxPerSecond).toBe(30);
  expect(features(now, { bboxes: new Map(), secondsAgo: 2 }).closingSpeedPxPerSecond).toBeNull();
});

test("nearer, closing and overlapping pairs score higher; without a pair little", () => {
  const score = (px: number, closing: number | null, overlap = 0) =>
    scoreGroup(
      {
        vulnerableToVehiclePx: px,
        vulnerableToVehicleHeights: px / 60,
        closingSpeedPxPerSecond: closing,
        maxOverlap: overlap,
      },
      ["car", "person"],
    );
  expect(score(10, null)).toBeGreaterThan(score(100, null));
  expect(score(50, 50)).toBeGreaterThan(score(50, -50));
  expect(score(0, 10, 0.5)).toBeGreaterThan(score(0, 10, 0));
  expect(score(1000, null)).toBeGreaterThan(scoreGroup(null, ["car"]));
  expect(scoreGroup(null, ["car", "truck"])).toBeGreaterThan(scoreGroup(undefined, ["person"]));
  expect(score(0, 1e9, 1)).toBeLessThanOrEqual(1);
  expect(score(Number.NaN, Number.NaN, Number.NaN)).toBeGreaterThanOrEqual(0);
});
