/** The pure parts of the Kafka adapter: who reads what, what is noted, what a reader may see, where a key goes. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { withHeaders, withoutHeaders } from "../../src/topics/foreign-record.ts";
import { assignPartitions } from "../../src/topics/kafka-assignment.ts";
import { acknowledge, freshMarks, giveBack, handOut, marksOf, marksToMetadata } from "../../src/topics/kafka-marks.ts";
import { type KafkaRecord, messageToRecord, readableOf, recordToMessage } from "../../src/topics/kafka-records.ts";
import { keyToShard, keyToShardByCrc32 } from "../../src/topics/key-to-shard.ts";
import { comparePositions, deadLetterHeaders, type OutgoingMessage } from "../../src/topics/topic-log.ts";

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
        const back = overTheWire({ key, value: Buffer.from("v"), headers });
        expect([back.key, Object.entries(back.headers).sort()]).toEqual([key, Object.entries(headers).sort()]);
        expect(back.foreign).toBeUndefined();
      }),
    );
  });

  /** Published, and read again. */
  const overTheWire = (message: OutgoingMessage) =>
    recordToMessage("t", 0, record(0, decoded(messageToRecord(message))));

  /** As kafkajs writes a record and reads it again: headers by their names, as its decoder puts them into an object. */
  function decoded({ key, value, headers }: ReturnType<typeof messageToRecord>) {
    const list = Object.entries(headers).flatMap(([name, each]) =>
      (Array.isArray(each) ? each : [each]).map((one) => [name, Buffer.from(one)] as const),
    );
    return { key: key === null ? null : Buffer.from(key), value, headers: decodedHeaders(list) };
  }

  function decodedHeaders(list: readonly (readonly [string, Buffer | null])[]): Record<string, unknown> {
    let found: Record<string, unknown> = {};
    for (const [name, bytes] of list) {
      const before = found[name];
      const all = before === undefined ? bytes : Array.isArray(before) ? [...before, bytes] : [before, bytes];
      found = { ...found, [name]: all };
    }
    return found;
  }

  test("anything that another program may write comes out as it was, also as a dead letter and back", () => {
    const bytes = fc.oneof(fc.uint8Array({ maxLength: 6 }), fc.constantFrom("cam", "ü")).map((b) => Buffer.from(b));
    const orNone = fc.option(bytes, { nil: null });
    const asJson = Buffer.from(JSON.stringify({ key: "k", headers: [["a", "1"]] }));
    const names = fc.constantFrom("a", "b", "ü", "__proto__", "constructor", "vigilane-json", "dead-letter", "");
    const header = fc.tuple(names, fc.oneof(bytes, fc.constant(asJson)));
    const reason = { topic: "t", shard: 0, position: "7", key: "", headers: {}, appendedAtMs: 1, deliveries: 1 };
    const dead = deadLetterHeaders({ ...reason, value: Buffer.alloc(0) }, { code: "X", message: "why" });
    fc.assert(
      fc.property(orNone, orNone, fc.array(header, { maxLength: 5 }), (key, value, list) => {
        const wire = { key, value, headers: decodedHeaders(list) };
        const read = recordToMessage("t", 0, record(0, wire));
        expect(decoded(messageToRecord(read))).toEqual(wire);
        const letter = overTheWire(withHeaders(read, dead));
        expect(letter.headers).toMatchObject(dead);
        const back = withoutHeaders(letter, Object.keys(dead));
        expect(decoded(messageToRecord(back))).toEqual(wire);
      }),
      { numRuns: 300 },
    );
  });

  test("a key's bytes say where it goes; a text key and its bytes go to one place", () => {
    const raw = Buffer.from([0x63, 0xff, 0xfe]);
    const replaced = raw.toString("utf8");
    expect(keyToShard(raw, 2 ** 20)).not.toBe(keyToShard(replaced, 2 ** 20));
    for (const place of [keyToShard, keyToShardByCrc32]) expect(place(Buffer.from("ü1"), 97)).toBe(place("ü1", 97));
  });

  test("foreign records: no key, no value, a header twice", () => {
    const foreign = record(3, { value: null, headers: { h: [Buffer.from("1"), Buffer.from("2")] } });
    const message = recordToMessage("t", 2, foreign);
    expect(message).toMatchObject({ key: "", value: Buffer.alloc(0), headers: { h: "2" } });
    const headers = [["h", Buffer.from("1")] as const, ["h", Buffer.from("2")] as const];
    expect(message.foreign).toEqual({ key: null, value: null, headers });
    const empty = record(3, { key: Buffer.from("k"), headers: { h: null } });
    expect(recordToMessage("t", 2, empty).headers).toEqual({ h: "" }); // kafkajs cannot write it otherwise
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
