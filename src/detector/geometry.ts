/** Boxes [x1, y1, x2, y2] against each other. */
import type { Bbox } from "../messages.ts";

/** Intersection over union, 0 to 1. */
export function iou(p: Bbox, q: Bbox): number {
  const across = Math.min(p[2], q[2]) - Math.max(p[0], q[0]);
  const down = Math.min(p[3], q[3]) - Math.max(p[1], q[1]);
  if (!(across > 0 && down > 0)) return 0;
  const shared = across * down;
  return shared / (area(p) + area(q) - shared);
}

/** Least distance between the edges, 0 when the boxes touch or overlap. */
export function gap(p: Bbox, q: Bbox): number {
  const across = Math.max(0, p[0] - q[2], q[0] - p[2]);
  const down = Math.max(0, p[1] - q[3], q[1] - p[3]);
  return Math.hypot(across, down);
}

export const area = ([x1, y1, x2, y2]: Bbox) => Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
export const height = ([, y1, , y2]: Bbox) => y2 - y1;
