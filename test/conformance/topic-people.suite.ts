/** What people do with topics by way of the two contracts (src/topics/dead-letters.ts, copy-topic.ts), on every adapter. */
import { randomUUID } from "node:crypto";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { copyTopic } from "../../src/topics/copy-topic.ts";
import { purgeLetters, readDeadLetters, retryLetters, SETTLED, tidy } from "../../src/topics/dead-letters.ts";
import { readBetween } from "../../src/topics/read-topic.ts";
import { DEAD_LETTER_HEADERS, deadLetterTopic, type TopicMessage } from "../../src/topics/topic-log.ts";
import { keysOf, numbersOf, said, sceneOf, type TopicLogFixture, upTo } from "./topic-log-scene.ts";

const context = { clock: systemClock, log: pino({ level: "silent" }) };
const { signal } = new AbortController();
const BYTES = Buffer.from([0xed, 0xa0, 0x80, 0x00, 0xff]);

export function topicPeopleConformance(name: string, fixture: TopicLogFixture): void {
  describe(`${name} lets people look at dead letters and copy topics`, () => {
    /** Messages of these keys were read once, and each became a dead letter. */
    async function deadScene(keys: readonly string[]) {
      const scene = { ...(await sceneOf(fixture, 2)), tools: await fixture.openTools() };
      const { log, topic, reader } = scene;
      await log.publish(
        topic,
        keys.map((key) => ({ key, value: BYTES, headers: { traceparent: `00-${key}` } })),
      );
      const consumer = reader();
      for (let rest = keys.length; rest > 0; ) {
        const batch = await consumer.next();
        for (const message of batch.messages) {
          await batch.deadLetter(message, { code: message.key.toUpperCase(), message: "no JSON" });
        }
        rest -= batch.messages.length;
        await batch.acknowledge();
      }
      const dead = deadLetterTopic(topic);
      const letters = async () => {
        const found = await readDeadLetters(scene, dead, context, signal);
        return found.toSorted((a, b) => (a.original.key < b.original.key ? -1 : 1));
      };
      return { ...scene, consumer, dead, letters };
    }

    test("dead letters are told with what they were, where they stood and why", async () => {
      const { topic, letters, log } = await deadScene(["a", "b"]);
      const [first] = await letters();
      expect(first).toMatchObject({
        original: { key: "a", value: BYTES, headers: { traceparent: "00-a" } },
        from: { topic, shard: expect.stringMatching(/^[01]$/), position: expect.any(String) },
        ...{ code: "A", reason: "no JSON", twins: [] },
      });
      expect(Object.keys(first?.original.headers ?? {})).toEqual(["traceparent"]);
      // Of somebody else: without any of our headers, and with a note that cannot be read.
      await log.publish(deadLetterTopic(topic), [
        { key: "c", value: Buffer.from("x") },
        { key: "", value: BYTES, headers: { [SETTLED]: "retried" } },
      ]);
      const all = await letters();
      expect(all.map(({ original }) => original.key)).toEqual(["a", "b", "c"]);
      expect(all[2]).toMatchObject({ from: { topic }, code: "UNKNOWN", reason: "" });
    });

    test("a retry publishes exactly what was selected, as it was, and takes it off", async () => {
      const { letters, consumer, dead, ...parts } = await deadScene(["a", "b", "c"]);
      const selected = (await letters()).filter(({ original }) => original.key !== "b");
      const stopped = AbortSignal.abort();
      expect(await retryLetters(parts, selected, () => {}, stopped)).toBe(0);
      expect(await purgeLetters(parts, selected, stopped)).toBe(0);
      expect(await letters()).toHaveLength(3);
      expect(await retryLetters(parts, selected, () => {})).toBe(2);
      await tidy(parts, dead, context, signal);
      expect((await letters()).map(({ original }) => original.key)).toEqual(["b"]);
      const again = await consumer.take(2);
      expect(again.map(({ key }) => key).sort()).toEqual(["a", "c"]);
      for (const { key, value, headers } of again) {
        expect([value, headers]).toEqual([BYTES, { traceparent: `00-${key}` }]);
      }
      await retryLetters(parts, await letters(), () => {});
      await tidy(parts, dead, context, signal);
      expect(await letters()).toEqual([]);
      expect((await consumer.take(1)).map(({ key }) => key)).toEqual(["b"]);
      // All was settled, so that nothing of it is kept.
      expect(await parts.tools.placesAt(dead, "earliest")).toEqual(await parts.log.ends(dead));
      expect((await parts.log.lag(parts.topic, "readers")).messages).toBe(0);
    });

    test("one that is refused stays, and its neighbours are retried", async () => {
      const { letters, consumer, dead, log, ...parts } = await deadScene(["a", "b"]);
      const refusing = {
        ...{ tools: parts.tools },
        log: {
          tail: log.tail,
          publish: async (topic: string, messages: Parameters<typeof log.publish>[1]) => {
            if (messages[0]?.key === "a" && topic === parts.topic) throw new Error("too large");
            await log.publish(topic, messages);
          },
        },
      };
      await expect(retryLetters(refusing, await letters(), () => {})).rejects.toThrow("too large");
      expect((await letters()).map(({ original }) => original.key)).toEqual(["a"]);
      expect((await consumer.take(1)).map(({ key }) => key)).toEqual(["b"]);
    });

    test("what is purged is gone for good once nothing older stays; what came twice goes at once", async () => {
      const { letters, dead, log, ...parts } = await deadScene(["a"]);
      const [first] = await letters();
      const { key = "", value = BYTES, headers = {} } = first?.letter ?? {};
      await log.publish(dead, [{ key, value, headers }]); // its writer was killed after the letter
      const other = { ...headers, [DEAD_LETTER_HEADERS.position]: "1700-12345" };
      await log.publish(dead, [{ key: "z", value, headers: other }]);
      const [twice, late] = await letters();
      expect([twice?.twins.length, late?.original.key]).toEqual([1, "z"]);
      await purgeLetters({ log, ...parts }, late ? [late] : []);
      await tidy({ log, ...parts }, dead, context, signal);
      expect((await letters()).map(({ original }) => original.key)).toEqual(["a"]);
      expect((await parts.tools.describe(dead))?.messages).toBe(4); // the older one holds them
      await purgeLetters({ log, ...parts }, twice ? [twice] : []);
      await tidy({ log, ...parts }, dead, context, signal);
      expect(await letters()).toEqual([]);
      expect((await parts.tools.describe(dead))?.messages).toBe(0);
    });

    test("a copy has keys, headers and values in order, ends at what was there, and goes on where it broke off", async () => {
      const { log, topic } = await sceneOf(fixture, 2);
      const tools = await fixture.openTools();
      const to = `t-${randomUUID()}`;
      await log.ensureTopic(to);
      const keys = keysOf(6);
      for (const n of upTo(200)) {
        void log.publish(
          topic,
          keys.map((key) => ({ ...said(key, n), headers: { n: String(n) } })),
        );
      }
      await log.publish(topic, [said("last", 0)]);
      const ends = await log.ends(topic);
      await log.publish(topic, [said("later", 0)]);
      const start = await tools.placesAt(topic, "earliest");
      const stop = new AbortController();
      let calls = 0;
      const parts = { log, tools };
      const broken = await copyTopic(parts, { from: topic, to, start, ends }, context, stop.signal, () => {
        calls += 1;
        stop.abort();
      });
      expect([calls, broken.messages]).toEqual([1, 500]);
      const rest = { from: topic, to, start: broken.places, ends };
      const second = await copyTopic(parts, rest, context, signal, () => {});
      expect(second.messages).toBe(6 * 200 + 1 - 500);
      const copied: TopicMessage[] = [];
      const all = readBetween(parts, to, await tools.placesAt(to, "earliest"), await log.ends(to), context, signal);
      for await (const message of all) copied.push(message);
      expect(copied).toHaveLength(6 * 200 + 1);
      for (const key of keys) expect(numbersOf(copied, key)).toEqual(upTo(200));
      expect(copied.find(({ key }) => key === keys[0])?.headers).toEqual({ n: "0" });
    });

    test("reading up to an end does not wait for what was deleted meanwhile", async () => {
      const { log, topic } = await sceneOf(fixture, 1);
      const tools = await fixture.openTools();
      await log.publish(topic, [said("a", 0), said("a", 1)]);
      const [start, ends] = [await tools.placesAt(topic, "earliest"), await log.ends(topic)];
      await tools.deleteUpTo(topic, ends);
      const read: TopicMessage[] = [];
      for await (const m of readBetween({ log, tools }, topic, start, ends, context, signal)) read.push(m);
      expect(read).toEqual([]);
    });
  });
}
