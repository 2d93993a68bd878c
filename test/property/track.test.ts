/** Tracking: what must hold for any boxes, and what one look a second asks for. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assign } from "../../src/detector/assignment.ts";
import {
  BYTE_TRACK,
  type Candidate,
  NO_TRACKS,
  type Tracked,
  type TrackState,
  track,
} from "../../src/detector/track.ts";

const candidate: fc.Arbitrary<Candidate> = fc.record({
  class: fc.constantFrom("person", "car", "truck", "bicycle"),
  confidence: fc.double({ min: 0, max: 1, noNaN: true }),
  bbox: fc
    .tuple(fc.nat(1500), fc.nat(900), fc.integer({ min: 5, max: 200 }), fc.integer({ min: 5, max: 200 }))
    .map(([x, y, w, h]) => [x, y, x + w, y + h] as [number, number, number, number]),
});
const looks = fc.array(fc.array(candidate, { maxLength: 12 }), { maxLength: 8 });

function follow(all: Candidate[][], intervalMs = 1000): { tracked: Tracked[][]; state: TrackState } {
  let state: TrackState = NO_TRACKS;
  const tracked = all.map((candidates, i) => {
    const look = track(state, candidates, i * intervalMs);
    state = look.state;
    return look.tracked;
  });
  return { tracked, state };
}

const person = (x: number, y = 100, confidence = 0.9): Candidate => ({
  class: "person",
  confidence,
  bbox: [x, y, x + 30, y + 80],
});

describe("tracking", () => {
  test("ids are unique within a look, confident boxes always have one, nothing is invented", () => {
    fc.assert(
      fc.property(looks, (all) => {
        follow(all).tracked.forEach((tracked, i) => {
          const candidates = all[i] ?? [];
          expect(new Set(tracked.map(({ trackId }) => trackId)).size).toBe(tracked.length);
          const confident = candidates.filter(({ confidence }) => confidence >= BYTE_TRACK.confident);
          const kept = tracked.map(({ trackId: _, ...box }) => box);
          for (const box of confident) expect(kept).toContainEqual(box);
          for (const box of kept) expect(candidates).toContainEqual(box);
        });
      }),
    );
  });

  test("the same boxes give the same ids, and the state that went in is not changed", () => {
    fc.assert(
      fc.property(looks, (all) => {
        const { state } = follow(all);
        const frozen = JSON.stringify(state);
        track(state, all[0] ?? [], 9_000);
        expect(JSON.stringify(state)).toBe(frozen);
        expect(follow(all)).toEqual(follow(all));
      }),
    );
  });

  test("what stands still keeps its id for ever", () => {
    fc.assert(
      fc.property(fc.nat(1500), fc.nat(900), (x, y) => {
        const { tracked } = follow(Array.from({ length: 20 }, () => [person(x, y)]));
        expect(new Set(tracked.flat().map(({ trackId }) => trackId)).size).toBe(1);
      }),
    );
  });

  test("someone who walks clear of their own box between looks keeps their id", () => {
    const { tracked } = follow([0, 55, 110, 165, 220].map((x) => [person(x)]));
    expect(tracked.flat().map(({ trackId }) => trackId)).toEqual([1, 1, 1, 1, 1]);
  });

  test("two who pass each other keep theirs by their motion", () => {
    const xs = [0, 40, 80, 120, 160, 200];
    const { tracked } = follow(xs.map((x) => [person(x, 100), person(200 - x, 110)]));
    const ids = tracked.map((look) => [...look].sort((p, q) => p.bbox[1] - q.bbox[1]).map(({ trackId }) => trackId));
    expect(ids).toEqual(xs.map(() => [1, 2]));
  });

  test("a weak box continues what was just seen, and never starts anything", () => {
    const { tracked } = follow([[person(0)], [person(10, 100, 0.15)], [person(20)], [person(900, 500, 0.15)]]);
    expect(tracked.map((look) => look.map(({ trackId }) => trackId))).toEqual([[1], [1], [1], []]);
  });

  test("someone hidden for two looks is known again, after too long not", () => {
    const { tracked } = follow([[person(0)], [], [], [person(10)], [], [], [], [], [person(10)]]);
    expect(tracked.flat().map(({ trackId }) => trackId)).toEqual([1, 1, 2]);
  });

  test("a truck that was called a car is still the same, a person never", () => {
    const car: Candidate = { class: "car", confidence: 0.9, bbox: [0, 0, 80, 40] };
    const { tracked } = follow([[car], [{ ...car, class: "truck" }], [{ ...car, class: "person" }]]);
    expect(tracked.flat().map(({ trackId }) => trackId)).toEqual([1, 1, 2]);
  });

  test("nobody jumps across the picture", () => {
    const { tracked } = follow([[person(0)], [person(900)]]);
    expect(tracked.flat().map(({ trackId }) => trackId)).toEqual([1, 2]);
  });
});

describe("assignment", () => {
  const cost = fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 0, max: 50 }) },
    { weight: 1, arbitrary: fc.constant(Infinity) },
  );
  const matrix = fc
    .tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 5 }))
    .chain(([rows, columns]) =>
      fc.tuple(
        fc.array(fc.array(cost, { minLength: columns, maxLength: columns }), { minLength: rows, maxLength: rows }),
        fc.constant(columns),
      ),
    );

  /** The most pairs that are allowed, at the least cost, by trying everything. */
  function best(
    costs: number[][],
    columns: number,
    row = 0,
    used = new Set<number>(),
  ): { pairs: number; total: number } {
    if (row === costs.length) return { pairs: 0, total: 0 };
    let found = best(costs, columns, row + 1, used);
    for (let column = 0; column < columns; column += 1) {
      const price = costs[row]?.[column] ?? Infinity;
      if (used.has(column) || price === Infinity) continue;
      const rest = best(costs, columns, row + 1, new Set([...used, column]));
      const option = { pairs: rest.pairs + 1, total: rest.total + price };
      if (option.pairs > found.pairs || (option.pairs === found.pairs && option.total < found.total)) found = option;
    }
    return found;
  }

  test("as many pairs as are allowed, at the least cost", () => {
    fc.assert(
      fc.property(matrix, ([costs, columns]) => {
        const pairs = assign(costs, columns);
        expect(new Set(pairs.map(({ row }) => row)).size).toBe(pairs.length);
        expect(new Set(pairs.map(({ column }) => column)).size).toBe(pairs.length);
        const total = pairs.reduce((sum, { row, column }) => sum + (costs[row]?.[column] ?? Infinity), 0);
        expect({ pairs: pairs.length, total }).toEqual(best(costs, columns));
      }),
      { numRuns: 300 },
    );
  });
});
