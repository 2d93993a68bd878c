/**
 * How urgent a group's boxes alone make it, 0 to 1: the order of the waiting room before any verdict is known, and what
 * the preview colours its groups by. Not a verdict.
 */
import type { GroupFeatures } from "./messages.ts";

const VEHICLES: readonly string[] = ["car", "bus", "truck", "train"];

/** Seconds to contact at which closing in counts 1/e of the most. */
const CONTACT_SECONDS = 2;

/**
 * A vulnerable road user near a vehicle counts most (half of it at one height's distance), then how soon the two would
 * touch, then how much their boxes overlap. Without such a pair: vehicles among themselves 0.15, people alone 0.05.
 */
export function scoreGroup(features: GroupFeatures | null | undefined, classes: readonly string[]): number {
  const distancePx = features?.vulnerableToVehiclePx ?? null;
  if (!features || distancePx === null) return classes.some((name) => VEHICLES.includes(name)) ? 0.15 : 0.05;
  const heights = features.vulnerableToVehicleHeights ?? distancePx / 100;
  const near = 1 / (1 + Math.max(0, heights));
  const closing = features.closingSpeedPxPerSecond ?? 0;
  const soon = closing > 0 ? Math.exp(-distancePx / closing / CONTACT_SECONDS) : 0;
  const overlap = Math.min(1, Math.max(0, features.maxOverlap));
  const score = 0.2 + 0.4 * near + 0.25 * soon + 0.15 * overlap;
  return Number.isFinite(score) ? Math.min(1, Math.max(0, score)) : 0;
}
