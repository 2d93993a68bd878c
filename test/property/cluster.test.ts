/** BX clustering: what must hold for any boxes. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BX, cluster } from "../../src/detector/cluster.ts";
import type { DetectedObject } from "../../src/messages.ts";

const object = fc.record({
  class: fc.constantFrom("person", "car", "bus"),
  confidence: fc.double({ min: 0, max: 1, noNaN: true }),
  bbox: fc
    .tuple(fc.nat(1500), fc.nat(900), fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 200 }))
    .map(([x, y, w, h]) => [x, y, x + w, y + h] as [number, number, number, number]),
});
const objects = fc.array(object, { maxLength: 40 });

const at = (x: number, y = 0): DetectedObject => ({ class: "car", confidence: 1, bbox: [x - 5, y - 5, x + 5, y + 5] });

/** The groups as sets of objects, whatever their numbers. */
const partition = (all: DetectedObject[]) =>
  new Set(
    cluster(all).map(({ memberIndices }) =>
      memberIndices
        .map((i) => JSON.stringify(all[i]))
        .sort()
        .join(),
    ),
  );

describe("BX clustering", () => {
  test("an empty list gives no groups, nor does a lone object", () => {
    expect(cluster([])).toEqual([]);
    expect(cluster([at(0)])).toEqual([]);
  });

  test("the order of the objects does not matter", () => {
    fc.assert(
      fc.property(
        objects.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
        ([all, shuffled]) => {
          expect(partition(shuffled)).toEqual(partition(all));
        },
      ),
    );
  });

  test("groups are disjoint, ascending, large enough and numbered without gaps", () => {
    fc.assert(
      fc.property(objects, (all) => {
        const groups = cluster(all);
        const members = groups.flatMap(({ memberIndices }) => memberIndices);
        expect(new Set(members).size).toBe(members.length);
        expect(groups.map(({ groupIndex }) => groupIndex)).toEqual(groups.map((_, i) => i + 1));
        const firsts = groups.map(({ memberIndices }) => memberIndices[0] ?? -1);
        expect(firsts).toEqual([...firsts].sort((p, q) => p - q));
        for (const group of groups) {
          expect(group.memberIndices).toEqual([...group.memberIndices].sort((p, q) => p - q));
          expect(group.objectCount).toBe(group.memberIndices.length);
          expect(group.objectCount).toBeGreaterThanOrEqual(BX.minObjects);
          expect(group.classes).toEqual([...new Set(group.classes)].sort());
        }
      }),
    );
  });

  test("two are together exactly when a chain of near ones joins them", () => {
    fc.assert(
      fc.property(objects, (all) => {
        const centres = all.map(({ bbox: [x1, y1, x2, y2] }) => [(x1 + x2) / 2, (y1 + y2) / 2] as const);
        const near = (i: number, j: number) => {
          const [p, q] = [centres[i] ?? [0, 0], centres[j] ?? [0, 0]];
          return Math.sqrt((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2) <= 150;
        };
        // By spreading from each object: another way than union-find.
        const chains = all.map((_, start) => {
          const reached = new Set([start]);
          for (const i of reached) for (const j of all.keys()) if (near(i, j)) reached.add(j);
          return reached;
        });
        const groups = cluster(all);
        const together = (i: number, j: number) =>
          groups.some((g) => g.memberIndices.includes(i) && g.memberIndices.includes(j));
        for (const i of all.keys())
          for (const j of all.keys()) if (i < j) expect(together(i, j)).toBe(chains[i]?.has(j));
      }),
      { numRuns: 50 },
    );
  });

  test("the threshold is exact and inclusive", () => {
    expect(cluster([at(0), at(150)])).toHaveLength(1);
    expect(cluster([at(0), at(150.0000001)])).toHaveLength(0);
    expect(cluster([at(0, 0), at(90, 120)])).toHaveLength(1); // 3-4-5
    expect(cluster([at(0, 0), at(90, 120.001)])).toHaveLength(0);
    expect(cluster([at(0), at(150), at(300)])).toMatchObject([{ memberIndices: [0, 1, 2], bbox: [-5, -5, 305, 5] }]);
  });

  test("what has no centre is near nothing", () => {
    expect(cluster([at(Number.NaN), at(0), at(Number.NaN), at(10)])).toMatchObject([{ memberIndices: [1, 3] }]);
  });

  test("mean confidence and classes are those of the members", () => {
    const car = { ...at(0), confidence: 0.5 };
    const person = { ...at(10), class: "person", confidence: 1 };
    expect(cluster([car, person])).toMatchObject([{ averageConfidence: 0.75, classes: ["car", "person"] }]);
  });
});
