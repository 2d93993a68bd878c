/** Which batch may go next: the rules that find the message that ends the process, for any state of the lines. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { StoredMessage } from "../../src/topics/redis-entries.ts";
import { isSuspect, isUpTo, newLine, nextLine, type ShardLine, takeBatch } from "../../src/topics/shard-line.ts";

const id = (n: number) => `1000-${n}`;
const message = (shard: number, n: number): StoredMessage => ({
  ...{ topic: "t", shard, position: id(n), key: "k", value: Buffer.of(), headers: {}, appendedAtMs: 1_000 },
});

const line = (shard: number): fc.Arbitrary<ShardLine> =>
  fc
    .record({
      ...{ pos: fc.nat(5), ahead: fc.nat(6), handed: fc.nat(8), returned: fc.nat(8) },
      out: fc.constantFrom("nothing" as const, "nothing" as const, "batch" as const),
      ...{ notBeforeMs: fc.constantFrom(0, 0, 50, 150), ceding: fc.boolean() },
    })
    .map(({ pos, ahead, handed, returned, ...rest }) => ({
      ...newLine(shard, "1", id(pos), id(pos + handed), id(pos + returned), returned > 0 ? 1 : 0),
      ahead: Array.from({ length: ahead }, (_, i) => message(shard, pos + 1 + i)),
      ...rest,
    }));

const lines = fc.nat(5).chain((count) => fc.tuple(...Array.from({ length: count + 1 }, (_, shard) => line(shard))));

test("a suspect goes out alone: not while anything else is out, and nothing beside it", () => {
  fc.assert(
    fc.property(lines, (all) => {
      const next = nextLine(all, 100);
      if (next === undefined) return;
      expect(next.ahead.length).toBeGreaterThan(0);
      expect([next.out, next.ceding, next.notBeforeMs <= 100]).toEqual(["nothing", false, true]);
      if (!isSuspect(next)) return;
      expect(all.every((each) => each.out === "nothing")).toBe(true);
      expect(takeBatch(next, 200)).toHaveLength(1);
      next.out = "suspect";
      expect(nextLine(all, 100)).toBeUndefined();
    }),
  );
});

test("nothing is held back for ever: with nothing out, whatever is ready has its turn, suspects first", () => {
  fc.assert(
    fc.property(lines, (all) => {
      for (const each of all) Object.assign(each, { out: "nothing", ceding: false, notBeforeMs: 0 });
      const ready = all.filter((each) => each.ahead.length > 0);
      const next = nextLine(all, 100);
      expect(next !== undefined).toBe(ready.length > 0);
      if (next) expect(isSuspect(next)).toBe(ready.some(isSuspect));
    }),
  );
});

test("batches come in order, take at most so many, and what was given back is not mixed with what is new", () => {
  fc.assert(
    fc.property(line(0), fc.integer({ min: 1, max: 4 }), (one, most) => {
      const before = one.ahead.map((each) => each.position);
      const taken: string[] = [];
      while (one.ahead.length > 0) {
        const batch = takeBatch(one, most);
        expect(batch.length).toBeGreaterThan(0);
        expect(batch.length).toBeLessThanOrEqual(most);
        expect(new Set(batch.map((each) => isUpTo(each, one.returnedUntil))).size).toBe(1);
        taken.push(...batch.map((each) => each.position));
      }
      expect(taken).toEqual(before);
    }),
  );
});
