/** What every adapter of the TopicTools contract must show (src/topics/topic-tools.ts). Each test has a topic of its own. */
import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { comparePositions, type Places, type TopicLog, type TopicMessage } from "../../src/topics/topic-log.ts";
import type { TopicWish } from "../../src/topics/topic-tools.ts";
import { TopicReader } from "../support/topic-reader.ts";
import { keysOf, numbersOf, said, sceneOf, type TopicLogFixture, upTo } from "./topic-log-scene.ts";

export function topicToolsConformance(name: string, fixture: TopicLogFixture): void {
  describe(`${name} keeps the contract of the topics' tools`, () => {
    const scene = async (shards = 2) => ({ ...(await sceneOf(fixture, shards)), tools: await fixture.openTools() });

    test("topics that exist are listed and described; what does not exist is said to be unknown", async () => {
      const { log, topic, tools } = await scene(4);
      await log.publish(
        topic,
        upTo(30).map((n) => said(`k${n}`, n)),
      );
      expect(await tools.topics()).toContain(topic);
      const facts = await tools.describe(topic);
      expect(facts).toMatchObject({ topic, shards: 4, messages: 30 });
      expect(facts?.copies).toBe(Math.min(3, await tools.brokers()));
      const none = `t-${randomUUID()}`;
      expect(await tools.describe(none)).toBeNull();
      for (const asked of [
        () => tools.groups(none),
        () => tools.placesAt(none, "earliest"),
        () => tools.move(none, "g", []),
        () => tools.move(topic, "nobody", ["0", "0", "0", "0"]),
      ]) {
        await expect(asked()).rejects.toMatchObject({ code: "TOPIC_UNKNOWN" });
      }
      expect(await tools.topics()).not.toContain(none);
    });

    test("create makes a topic as wished and leaves one that is there; grow adds shards and never takes any", async () => {
      const { log, tools } = await scene();
      const wish: TopicWish = {
        ...{ topic: `t-${randomUUID()}`, shards: 3, copies: 3, retentionMs: 7_200_000, maxBytes: 3_000_000 },
        ...{ maxMessageBytes: 200_000, kafka: {} },
      };
      const { topic } = wish;
      await tools.create(wish);
      await tools.create({ ...wish, shards: 2, retentionMs: 1 });
      const facts = await tools.describe(topic);
      expect(facts).toMatchObject({ shards: 3, messages: 0 });
      expect(facts?.config ?? null).toEqual(tools.configOf(wish, 3, facts?.copies ?? 0));
      // What it has of its own and what it has from the broker.
      const known = facts?.config ? expect.arrayContaining([...Object.keys(facts.config), "segment.bytes"]) : null;
      expect(facts?.known ?? null).toEqual(known);
      const reader = new TopicReader(log, topic, { group: "readers", consumer: "a" });
      await log.publish(
        topic,
        keysOf(20).map((key) => said(key, 0)),
      );
      await reader.take(20);
      await tools.grow(topic, 8);
      await tools.grow(topic, 2);
      expect((await tools.describe(topic))?.shards).toBe(8);
      // A producer that knows the new shards, beside a consumer that ran all the time.
      const other = await fixture.open({ shards: 8 });
      await other.ensureTopic(topic);
      await other.publish(
        topic,
        keysOf(40).map((key) => said(key, 1)),
      );
      const read = await reader.take(40);
      expect(Math.max(...read.map(({ shard }) => shard))).toBeGreaterThan(2);
      expect(new Set(read.map((m) => m.key)).size).toBe(40);
    });

    test("a tail goes on into the shards of a topic that grows", async () => {
      const { log, topic, tools } = await scene(1);
      const other = await fixture.open({ shards: 8 });
      const abort = new AbortController();
      const tail = log.tail(topic, "earliest", abort.signal)[Symbol.asyncIterator]();
      await log.publish(topic, [said("first", 0)]);
      expect((await tail.next()).value?.key).toBe("first");
      await tools.grow(topic, 8);
      await other.ensureTopic(topic);
      await other.publish(
        topic,
        keysOf(40).map((key) => said(key, 1)),
      );
      const keys = new Set<string>();
      while (keys.size < 40) keys.add((await tail.next()).value?.key ?? "");
      abort.abort();
      expect(await tail.next()).toMatchObject({ done: true });
    });

    test("groups are told with their consumers, their lag and their places", async () => {
      const { log, topic, reader, tools } = await scene();
      await log.publish(
        topic,
        keysOf(20).map((key) => said(key, 0)),
      );
      expect(await tools.groups(topic)).toEqual([]);
      const consumer = reader({ group: "some.group" });
      await consumer.take(20);
      await expect
        .poll(() => tools.groups(topic), { timeout: 15_000 })
        .toEqual([
          {
            ...{ group: "some.group", consumers: [expect.stringMatching(/a$/)], places: await log.ends(topic) },
            lag: { messages: 0, oldestAgeMs: 0, lost: 0 },
          },
        ]);
      await consumer.close();
      await log.publish(topic, [said("later", 1)]);
      const [group] = await tools.groups(topic);
      expect(group).toMatchObject({ consumers: [], lag: { messages: 1, lost: 0 } });
    });

    test("places of a time are before the first message of that time or later", async () => {
      const { log, topic, tools } = await scene(1);
      expect(await tools.placesAt(topic, "earliest")).toEqual(await tools.placesAt(topic, "latest"));
      const messages: TopicMessage[] = [];
      for (const n of upTo(3)) {
        await log.publish(topic, [said("a", n)]);
        messages.push(...(await readAfter(log, topic, messages.at(-1)?.position)));
        const at = messages.at(-1)?.appendedAtMs ?? 0;
        await expect.poll(() => Date.now()).toBeGreaterThan(at + 1); // each has a millisecond of its own
      }
      const [first, second, third] = messages.map((m) => m.appendedAtMs);
      const numbersFrom = async (at: Parameters<typeof tools.placesAt>[1]) =>
        numbersOf(await readAfter(log, topic, (await tools.placesAt(topic, at))[0]), "a");
      expect(await numbersFrom("earliest")).toEqual([0, 1, 2]);
      expect(await numbersFrom(0)).toEqual([0, 1, 2]);
      expect(await numbersFrom(first ?? 0)).toEqual([0, 1, 2]);
      expect(await numbersFrom((first ?? 0) + 1)).toEqual([1, 2]);
      expect(await numbersFrom(second ?? 0)).toEqual([1, 2]);
      expect(await numbersFrom(third ?? 0)).toEqual([2]);
      expect(await tools.placesAt(topic, (third ?? 0) + 1)).toEqual(await log.ends(topic));
      expect(await tools.placesAt(topic, "latest")).toEqual(await log.ends(topic));
    });

    test("a group that nobody consumes is moved back and forth", async () => {
      const { log, topic, reader, tools } = await scene();
      await log.publish(
        topic,
        keysOf(20).map((key) => said(key, 0)),
      );
      const first = reader();
      await first.take(20);
      await first.close();
      await tools.move(topic, "readers", await tools.placesAt(topic, "earliest"));
      expect((await log.lag(topic, "readers")).messages).toBe(20);
      const second = reader({ consumer: "b" });
      const again = await second.take(20);
      expect(new Set(again.map((m) => m.key)).size).toBe(20);
      expect(again.every((m) => m.deliveries === 1)).toBe(true);
      await second.close();
      await tools.move(topic, "readers", await tools.placesAt(topic, "earliest"));
      await tools.move(topic, "readers", await tools.placesAt(topic, "latest"));
      expect((await log.lag(topic, "readers")).messages).toBe(0);
    });

    test("a consuming group is not moved, unless by force: what is out is taken away, and all comes again", async () => {
      const { log, topic, reader, tools } = await scene(1);
      await log.publish(
        topic,
        upTo(10).map((n) => said("a", n)),
      );
      const consumer = reader({ maxMessages: 4 });
      await (await consumer.next()).acknowledge();
      const out = await consumer.next();
      const earliest = await tools.placesAt(topic, "earliest");
      await expect(tools.move(topic, "readers", earliest)).rejects.toMatchObject({ code: "GROUP_CONSUMING" });
      await tools.move(topic, "readers", earliest, { force: true });
      await expect(out.acknowledge()).rejects.toMatchObject({ code: "OWNERSHIP_LOST" });
      expect(numbersOf(await consumer.take(10), "a")).toEqual(upTo(10));
    });

    test("deleting up to a place deletes that and what is before it, and nothing else", async () => {
      const { log, topic, tools } = await scene(1);
      await log.publish(
        topic,
        upTo(6).map((n) => said("a", n)),
      );
      const messages = await readAfter(log, topic, undefined);
      await tools.deleteUpTo(topic, [messages[3]?.position ?? ""]);
      await tools.deleteUpTo(topic, [messages[1]?.position ?? ""]); // gone already
      expect(numbersOf(await readAfter(log, topic, undefined), "a")).toEqual([4, 5]);
      expect((await tools.describe(topic))?.messages).toBe(2);
      await tools.deleteUpTo(topic, await log.ends(topic));
      expect(await tools.placesAt(topic, "earliest")).toEqual(await log.ends(topic));
      await log.publish(topic, [said("a", 6)]);
      expect(numbersOf(await readAfter(log, topic, undefined), "a")).toEqual([6]);
    });
  });

  /** What stands behind a place of a topic of one shard, up to its present end. */
  async function readAfter(log: TopicLog, topic: string, place: string | undefined): Promise<TopicMessage[]> {
    const [end = ""] = await log.ends(topic);
    const start: Places | "earliest" = place === undefined ? "earliest" : [place];
    const abort = new AbortController();
    const messages: TopicMessage[] = [];
    if (place !== undefined && comparePositions(place, end) >= 0) return messages;
    for await (const message of log.tail(topic, start, abort.signal)) {
      messages.push(message);
      if (comparePositions(message.position, end) >= 0) abort.abort();
    }
    return messages;
  }
}
