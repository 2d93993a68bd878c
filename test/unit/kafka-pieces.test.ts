/** The pure parts of the Kafka adapter: who reads what, what is noted, what a reader may see, where a key goes. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { newClusterId } from "../../src/supervisor/local-kafka.ts";
import { assignPartitions } from "../../src/topics/kafka-assignment.ts";
import { acknowledge, freshMarks, giveBack, handOut, marksOf, marksToMetadata } from "../../src/topics/kafka-marks.ts";
import { type KafkaRecord, messageToRecord, readableOf, recordToMessage } from "../../src/topics/kafka-records.ts";
import { keyToShardByCrc32 } from "../../src/topics/key-to-shard.ts";
import { comparePositions } from "../../src/topics/topic-log.ts";

describe("partitions are shared", () => {
  const anyGroup = fc.record({
    partitions: fc.integer({ min: 0, max: 40 }),
    owned: fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 50 }), { maxLength: 20 }), { minLength: 1, maxLength: 8 }),
  });

  test("each goes to exactly one member, and the shares differ by one at most", () => {
    fc.assert(
      fc.property(anyGroup, ({ partitions, owned }) => {
        const members = owned.map((each, i) => ({ memberId: `m${i}`, owned: each }));
        const assigned = assignPartitions(members, partitions);
        const all = [...assigned.values()].flat().sort((a, b) => a - b);
        expect(all).toEqual(Array.from({ length: partitions }, (_, n) => n));
        const sizes = [...assigned.values()].map((each) => each.length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("a member that joins or leaves moves no more than it must", () => {
    const two = assignPartitions(
      [
        { memberId: "a", owned: [0, 1, 2, 3, 4, 5, 6, 7] },
        { memberId: "b", owned: [] },
      ],
      8,
    );
    expect(two.get("a")).toEqual([0, 1, 2, 3]);
    const one = assignPartitions([{ memberId: "b", owned: [4, 5, 6, 7] }], 8);
    expect(one.get("b")?.slice(0, 4)).toEqual([4, 5, 6, 7]);
  });
});

test("a cluster's id never looks like an option of Kafka's tools", () => {
  const drawn = [Buffer.alloc(16, 0xfb), Buffer.alloc(16, 0xfa), Buffer.alloc(16, 0)]; // the first two begin with "-"
  expect(newClusterId(() => drawn.shift() ?? Buffer.alloc(0))).toBe("AAAAAAAAAAAAAAAAAAAAAA");
  expect(drawn).toEqual([]);
});

describe("marks", () => {
  test("what is written beside the offset is read again, and is short", () => {
    let marks = handOut(freshMarks(10n), 19n, false);
    marks = giveBack(marks, 19n, false);
    marks = handOut({ ...marks, lost: 3 }, 10n, true);
    const metadata = marksToMetadata(marks);
    expect(metadata.length).toBeLessThan(100);
    expect(marksOf(10n, metadata)).toEqual(marks);
    expect(marksToMetadata(freshMarks(7n))).toBe("");
  });

  test("a suspect gains a strike only when it was out, alone and marked, as its process ended", () => {
    const died = handOut(freshMarks(5n), 9n, false); // among others
    const first = handOut(marksOf(5n, marksToMetadata(died)), 5n, true);
    expect(first.strikes).toBe(0);
    const second = handOut(marksOf(5n, marksToMetadata(first)), 5n, true);
    expect(second.strikes).toBe(1);
    const back = giveBack(second, 5n, true);
    expect(handOut(marksOf(5n, marksToMetadata(back)), 5n, true).strikes).toBe(1); // ended well, and comes again
    expect(acknowledge(second, 5n)).toMatchObject({ position: 6n, strikes: 0, suspect: -1n, handed: 9n });
  });

  test("another tool's metadata, or none, tells nothing", () => {
    for (const metadata of [null, "", "rpk", '{"h":5}', "[]"]) expect(marksOf(3n, metadata)).toEqual(freshMarks(3n));
  });
});

describe("records", () => {
  const record = (offset: number, more: Partial<KafkaRecord> = {}): KafkaRecord => ({
    ...{ offset: String(offset), timestamp: "1", key: null, value: Buffer.from([offset]), headers: {} },
    ...more,
  });
  const by = (producerId: string) => ({ batchContext: { producerId, inTransaction: true } });
  const end = (offset: number, producerId: string, committed: boolean) =>
    record(offset, { ...by(producerId), isControlRecord: true, key: Buffer.from([0, 0, 0, committed ? 1 : 0]) });

  test("aborted messages and ends of transactions are not seen, and are gone behind", () => {
    const messages = [
      ...[record(0), record(1, by("7")), record(2, by("8")), record(3), end(4, "7", false), end(5, "8", true)],
      ...[record(6, by("7")), end(7, "7", true)],
    ];
    const part = { partition: 0, messages, abortedTransactions: [{ producerId: "7", firstOffset: "1" }] };
    const { records, next } = readableOf(part, 0n);
    expect(records.map(({ offset }) => offset)).toEqual(["0", "2", "3", "6"]);
    expect(next).toBe(8n);
    expect(readableOf(part, 3n).records.map(({ offset }) => offset)).toEqual(["3", "6"]);
    expect(readableOf({ partition: 0, messages: [end(4, "7", false)] }, 4n)).toEqual({ records: [], next: 5n });
  });

  test("any key and headers come out as they went in", () => {
    const text = fc.string({ unit: "binary", maxLength: 20 });
    const names = fc.oneof(text, fc.constantFrom("__proto__", "constructor", "toString", "vigilane-json", ""));
    fc.assert(
      fc.property(text, fc.array(fc.tuple(names, text), { maxLength: 4 }), (key, pairs) => {
        const headers = Object.fromEntries(pairs);
        const { value, ...sent } = messageToRecord({ key, value: Buffer.from("v"), headers });
        const wire = Object.entries(sent.headers).map(([name, each]) => [name, Buffer.from(each)]);
        const back = recordToMessage(
          "t",
          0,
          record(0, { value, key: Buffer.from(sent.key), headers: Object.fromEntries(wire) }),
        );
        expect([back.key, Object.entries(back.headers).sort()]).toEqual([key, Object.entries(headers).sort()]);
      }),
    );
  });

  test("foreign records: no key, no value, a header twice", () => {
    const foreign = record(3, { value: null, headers: { h: [Buffer.from("1"), Buffer.from("2")] } });
    expect(recordToMessage("t", 2, foreign)).toMatchObject({ key: "", value: Buffer.alloc(0), headers: { h: "2" } });
  });
});

test("positions before the first message are comparable", () => {
  expect(comparePositions("-1", "0")).toBe(-1);
  expect(comparePositions("9", "10")).toBe(-1);
  expect(comparePositions("-1", "-1")).toBe(0);
});

// As librdkafka's consistent_random partitioner has it: CRC-32 (the check value of "123456789" is 0xcbf43926).
test("crc32 is the standard one", () => {
  expect(keyToShardByCrc32("123456789", 0x7fffffff)).toBe(0xcbf43926 % 0x7fffffff);
});
