/**
 * "BX" clustering: boxes whose centres lie within a distance of each other belong together, transitively (single
 * linkage by union-find). Exactly as the older system groups (group_analyzer.py), so that both find the same groups.
 */
import type { Bbox, DetectedObject, TrafficGroup } from "../messages.ts";

export interface ClusterRule {
  /** Largest distance of two centres, px of the frame, inclusive. */
  distancePx: number;
  /** Smaller groups are left out, and no index is used up for them. */
  minObjects: number;
}

export const BX: ClusterRule = { distancePx: 150, minObjects: 2 };

/** Groups numbered from 1 in the order of their lowest members; members ascending. O(n²). */
export function cluster(objects: readonly DetectedObject[], rule: ClusterRule = BX): TrafficGroup[] {
  if (objects.length < rule.minObjects) return [];
  return membersByGroup(objects, rule.distancePx)
    .filter((members) => members.length >= rule.minObjects)
    .map((members, i) => describe(objects, members, i + 1));
}

/** Every object in exactly one list; lists in the order of their first members. */
function membersByGroup(objects: readonly DetectedObject[], distancePx: number): number[][] {
  const parent = objects.map((_, i) => i);
  const root = (i: number): number => {
    let at = i;
    while (parent[at] !== at) {
      parent[at] = parent[parent[at] as number] as number; // halve the path
      at = parent[at] as number;
    }
    return at;
  };
  const centres = objects.map(({ bbox: [x1, y1, x2, y2] }) => [(x1 + x2) / 2, (y1 + y2) / 2] as const);
  centres.forEach(([x, y], i) => {
    for (let j = i + 1; j < centres.length; j += 1) {
      const [otherX, otherY] = centres[j] as readonly [number, number];
      const dx = otherX - x;
      const dy = otherY - y;
      if (Math.sqrt(dx * dx + dy * dy) <= distancePx) parent[root(j)] = root(i); // never true of NaN
    }
  });
  const lists = new Map<number, number[]>();
  objects.forEach((_, i) => {
    const list = lists.get(root(i));
    if (list) list.push(i);
    else lists.set(root(i), [i]);
  });
  return [...lists.values()];
}

function describe(objects: readonly DetectedObject[], memberIndices: number[], groupIndex: number): TrafficGroup {
  const members = memberIndices.map((i) => objects[i] as DetectedObject);
  const bbox: Bbox = [
    Math.min(...members.map(({ bbox }) => bbox[0])),
    Math.min(...members.map(({ bbox }) => bbox[1])),
    Math.max(...members.map(({ bbox }) => bbox[2])),
    Math.max(...members.map(({ bbox }) => bbox[3])),
  ];
  return {
    groupIndex,
    objectCount: members.length,
    bbox,
    classes: [...new Set(members.map((member) => member.class))].sort(),
    averageConfidence: members.reduce((sum, { confidence }) => sum + (confidence ?? 0), 0) / members.length,
    memberIndices,
  };
}
