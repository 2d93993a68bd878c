/**
 * What every adapter of the TopicLog contract must show (src/topics/topic-log.ts) inside one process. What needs
 * processes that die or stop is in topic-log-processes.suite.ts. Each test has a topic of its own.
 */
import { setImmediate as restOfTurn } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  comparePositions,
  DEAD_LETTER_HEADERS,
  deadLetterTopic,
  type OutgoingMessage,
  type TopicMessage,
} from "../../src/topics/topic-log.ts";
import { stressStartStop } from "../support/service-stress.ts";
import { keysOf, numbersOf, said, sceneOf, type TopicLogFixture, upTo } from "./topic-log-scene.ts";

export function topicLogConformance(name: string, fixture: TopicLogFixture): void {
  describe(`${name} keeps the contract of the topics`, () => {
    const scene = (shards = 16) => sceneOf(fixture, shards);

    test("any key, bytes and headers come out as they went in", async () => {
      const { log, topic, reader } = await scene();
      const consumer = reader();
      const text = fc.string({ unit: "binary", maxLength: 40 });
      const message: fc.Arbitrary<OutgoingMessage> = fc.record({
        key: text,
        value: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
        headers: fc.dictionary(text, text, { maxKeys: 4 }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 20 }), async (messages) => {
          await log.publish(topic, messages);
          expect(comparable(await consumer.take(messages.length))).toEqual(comparable(messages));
        }),
        { numRuns: 40 },
      );
    });

    test("bytes that are no UTF-8, such as a lone surrogate of another language's JSON, stay", async () => {
      const { log, topic, reader } = await scene();
      const value = Buffer.from([0x22, 0xed, 0xa0, 0xbd, 0x22, 0x00, 0xff, 0xfe, 0x0d, 0x0a]);
      await log.publish(topic, [{ key: "a", value }]);
      expect((await reader().take(1))[0]?.value).toEqual(value);
    });

    test("messages of one key come in the order of their publishing, over many calls at once", async () => {
      const { log, topic, reader } = await scene();
      const keys = keysOf(12);
      await Promise.all(
        upTo(60).map((n) =>
          log.publish(
            topic,
            keys.map((key) => said(key, n)),
          ),
        ),
      );
      const read = await reader({ maxMessages: 7 }).take(60 * 12);
      for (const key of keys) expect(numbersOf(read, key)).toEqual(upTo(60));
    });

    test("positions of a shard grow, and so do the times of appending", async () => {
      const { log, topic, reader } = await scene(1);
      for (const n of upTo(20)) await log.publish(topic, [said("a", n)]);
      const read = await reader().take(20);
      for (const [i, message] of read.entries()) {
        const next = read[i + 1] ?? message;
        expect(comparePositions(message.position, next.position)).toBe(next === message ? 0 : -1);
        expect(next.appendedAtMs).toBeGreaterThanOrEqual(message.appendedAtMs);
      }
    });

    test("the next batch of a shard comes only after the one before has ended", async () => {
      const { log, topic, reader } = await scene(1);
      const consumer = reader({ maxMessages: 1 });
      await log.publish(topic, [said("a", 0), said("a", 1)]);
      const first = await consumer.next();
      const second = consumer.next();
      // Another group reads both meanwhile: the log had time enough to hand out the second one.
      await reader({ group: "other" }).take(2);
      expect(await Promise.race([second, Promise.resolve("not yet")])).toBe("not yet");
      await first.acknowledge();
      expect(numbersOf((await second).messages, "a")).toEqual([1]);
    });

    test("batches of several shards may be out at once", async () => {
      const { log, topic, reader } = await scene(2);
      const consumer = reader();
      await log.publish(
        topic,
        keysOf(20).map((key) => said(key, 0)),
      );
      const [one, other] = [await consumer.next(), await consumer.next()];
      expect(new Set([one.shard, other.shard])).toEqual(new Set([0, 1]));
      await Promise.all([one.acknowledge(), other.acknowledge()]);
    });

    test("a batch has no more messages than asked for", async () => {
      const { log, topic, reader } = await scene(1);
      await log.publish(
        topic,
        upTo(25).map((n) => said("a", n)),
      );
      const consumer = reader({ maxMessages: 10 });
      for (let rest = 25; rest > 0; ) {
        const batch = await consumer.next();
        expect(batch.messages.length).toBeLessThanOrEqual(10);
        rest -= batch.messages.length;
        await batch.acknowledge();
      }
    });

    test("a batch given back comes again, the same, not before its time, and says how often", async () => {
      const { log, topic, reader } = await scene(1);
      await log.publish(topic, [said("a", 0), said("a", 1)]);
      const consumer = reader();
      const first = await consumer.next();
      expect(first.messages.map((m) => m.deliveries)).toEqual([1, 1]);
      await log.publish(topic, [said("a", 2)]);
      const since = performance.now();
      await first.giveBack(300);
      const again = await consumer.next();
      expect(performance.now() - since).toBeGreaterThanOrEqual(295);
      expect(again.messages.map((m) => m.position)).toEqual(first.messages.map((m) => m.position));
      expect(again.messages.map((m) => m.deliveries)).toEqual([2, 2]);
      await again.giveBack();
      const third = await consumer.next();
      expect(third.messages.map((m) => m.deliveries)).toEqual([3, 3]);
      await third.acknowledge();
      const fresh = await consumer.next();
      expect(fresh.messages.map((m) => [m.value.toString(), m.deliveries])).toEqual([["a 2", 1]]);
      await fresh.acknowledge();
    });

    test("a batch ends once", async () => {
      const { log, topic, reader } = await scene(1);
      await log.publish(topic, [said("a", 0)]);
      const batch = await reader().next();
      await batch.acknowledge();
      await expect(batch.acknowledge()).rejects.toThrow();
      await expect(batch.giveBack()).rejects.toThrow();
    });

    test("what was acknowledged does not come again, to whoever reads next; every group has its own place", async () => {
      const { log, topic, reader } = await scene();
      await log.publish(
        topic,
        upTo(30).map((n) => said(`k${n}`, n)),
      );
      const first = reader();
      await first.take(30);
      await first.close();
      await log.publish(topic, [said("later", 1)]);
      expect((await reader({ consumer: "b" }).take(1)).map((m) => m.key)).toEqual(["later"]);
      expect(await reader({ group: "other" }).take(31)).toHaveLength(31);
    });

    test("a new group begins at the latest when it wants so", async () => {
      const { log, topic, reader } = await scene();
      await log.publish(topic, [said("old", 0)]);
      const consumer = reader({ from: "latest" });
      const next = consumer.take(1);
      // Publishes until the group is there: what comes before its beginning is not for it.
      let settled = false;
      const watch = next.then(() => {
        settled = true;
      });
      for (let n = 0; !settled; n += 1) await log.publish(topic, [said("new", n)]);
      await watch;
      expect((await next)[0]?.key).toBe("new");
    });

    test("two consumers share the shards, and each message goes to one of them", async () => {
      const { topic, log, reader, another } = await scene();
      const seen: string[][] = [[], []];
      const consumers = [reader({ consumer: "a" }), (await another()).reader({ consumer: "b" })];
      const reading = consumers.map((consumer, i) =>
        consumer.until((messages) => {
          seen[i] = messages.map((m) => m.value.toString());
          return messages.some((m) => m.key.startsWith("end"));
        }),
      );
      // Both are there once both read something.
      for (let n = 0; seen.some((each) => each.length === 0); n += 1) {
        await log.publish(
          topic,
          keysOf(40).map((key) => said(key, n)),
        );
      }
      await log.publish(
        topic,
        upTo(60).map((n) => said(`end-${n}`, n)),
      );
      await Promise.all(reading);
      const all = seen.flat();
      expect(new Set(all).size).toBe(all.length);
    });

    test("a consumer that closes hands over at once, with what it had not acknowledged", async () => {
      const { log, topic, reader, another } = await scene(4);
      const leaver = reader({ consumer: "a" });
      const stayer = (await another()).reader({ consumer: "b" });
      await log.publish(
        topic,
        keysOf(40).map((key) => said(key, 0)),
      );
      const out = await leaver.next();
      await leaver.close();
      const since = performance.now();
      const read = await stayer.until((messages) => new Set(messages.map((m) => m.key)).size === 40);
      expect(performance.now() - since).toBeLessThan(2_500); // a lease would take longer
      expect(read.find((m) => m.position === out.messages[0]?.position)?.deliveries).toBeGreaterThan(1);
      await expect(out.acknowledge()).rejects.toMatchObject({ code: "OWNERSHIP_LOST" });
    });

    test("a pause holds new batches back, lets the one that is out end, and ends with resume", async () => {
      const { log, topic, reader } = await scene(1);
      const consumer = reader({ maxMessages: 1 });
      await log.publish(topic, [said("a", 0), said("a", 1)]);
      const first = await consumer.next();
      consumer.pause();
      await first.acknowledge();
      const second = consumer.next();
      await reader({ group: "other" }).take(2);
      expect(await Promise.race([second, Promise.resolve("paused")])).toBe("paused");
      consumer.resume();
      expect(numbersOf((await second).messages, "a")).toEqual([1]);
    });

    test("a batch that is asked for while the one before ends comes at its end, unless a pause came first", async () => {
      const { log, topic, reader } = await scene(1);
      const consumer = reader({ maxMessages: 1 });
      await log.publish(
        topic,
        upTo(3).map((n) => said("a", n)),
      );
      const first = await consumer.next();
      const second = consumer.next();
      await first.acknowledge();
      expect(numbersOf((await second).messages, "a")).toEqual([1]);
      const third = consumer.next();
      const ending = (await second).acknowledge();
      await restOfTurn(); // the end is on its way, and the next batch's hand-out perhaps with it
      consumer.pause();
      await ending;
      await reader({ group: "other" }).take(3);
      expect(await Promise.race([third, Promise.resolve("paused")])).toBe("paused");
      expect((await log.lag(topic, "readers")).messages).toBe(1);
      consumer.resume();
      expect(numbersOf((await third).messages, "a")).toEqual([2]);
      await (await third).acknowledge();
      expect((await log.lag(topic, "readers")).messages).toBe(0);
    });

    test("a dead letter keeps key, bytes and headers, says where it stood and why, and comes once", async () => {
      const { log, topic, reader } = await scene();
      const value = Buffer.from([0xed, 0xa0, 0x80, 0x00, 0xff]);
      await log.publish(topic, [{ key: "ü", value, headers: { traceparent: "00-1", empty: "" } }, said("next", 1)]);
      const consumer = reader();
      const rest: TopicMessage[] = [];
      let original: TopicMessage | undefined;
      while (rest.length === 0 || original === undefined) {
        const batch = await consumer.next();
        for (const message of batch.messages) {
          if (message.key !== "ü") rest.push(message);
          else {
            original = message;
            await batch.deadLetter(message, { code: "ENVELOPE_UNREADABLE", message: "no JSON" });
            await batch.deadLetter(message, { code: "ENVELOPE_UNREADABLE", message: "no JSON" }); // repeated: still one
          }
        }
        await batch.acknowledge();
      }
      expect(rest.map((m) => m.key)).toEqual(["next"]);
      const dead = reader({}, deadLetterTopic(topic));
      await log.publish(deadLetterTopic(topic), [said("end", 0)]);
      const letters = await dead.take(2);
      expect(letters.map((m) => m.key)).toEqual(["ü", "end"]);
      expect(letters[0]?.value).toEqual(value);
      expect(letters[0]?.headers).toEqual({
        traceparent: "00-1",
        empty: "",
        [DEAD_LETTER_HEADERS.topic]: topic,
        [DEAD_LETTER_HEADERS.shard]: String(original.shard),
        [DEAD_LETTER_HEADERS.position]: original.position,
        [DEAD_LETTER_HEADERS.code]: "ENVELOPE_UNREADABLE",
        [DEAD_LETTER_HEADERS.message]: "no JSON",
      });
    });

    test("lag counts what is not acknowledged, and its age", async () => {
      const { log, topic, reader } = await scene();
      await log.publish(
        topic,
        keysOf(25).map((key) => said(key, 0)),
      );
      const consumer = reader();
      const batch = await consumer.next();
      const lag = await log.lag(topic, "readers");
      expect(lag).toMatchObject({ messages: 25, lost: 0 });
      expect(lag.oldestAgeMs).toBeGreaterThanOrEqual(0);
      expect(lag.oldestAgeMs).toBeLessThan(10_000);
      await batch.acknowledge();
      expect((await log.lag(topic, "readers")).messages).toBe(25 - batch.messages.length);
      await consumer.take(25 - batch.messages.length);
      expect(await log.lag(topic, "readers")).toEqual({ messages: 0, oldestAgeMs: 0, lost: 0 });
    });

    test("tail reads from the ends or the earliest without any group, and ends with its signal", async () => {
      const { log, topic } = await scene();
      await log.publish(topic, [said("a", 0)]);
      const ends = await log.ends(topic);
      await log.publish(topic, [said("a", 1), said("b", 2)]);
      const read = async (start: typeof ends | "earliest", count: number) => {
        const abort = new AbortController();
        const messages: TopicMessage[] = [];
        for await (const message of log.tail(topic, start, abort.signal)) {
          if (messages.push(message) === count) abort.abort();
        }
        return messages.map((m) => m.value.toString()).sort();
      };
      expect(await read(ends, 2)).toEqual(["a 1", "b 2"]);
      expect(await read("earliest", 3)).toEqual(["a 0", "a 1", "b 2"]);
    });

    test("an iteration ends when its subscription or its log stops, with nothing left hanging", async () => {
      const { topic, another } = await scene();
      const { log, reader } = await another();
      const waiting = [reader({ group: "one" }), reader({ group: "two" })].map((consumer) => consumer.next());
      await log.publish(topic, [said("a", 0)]);
      await Promise.all(waiting.map((batch) => batch.then((b) => b.acknowledge())));
      const ended = expect(reader({ group: "one", consumer: "b" }).next()).rejects.toThrow(/ended/);
      await log.stop();
      await ended;
    });

    test("starts and stops in any order", async () => {
      await stressStartStop(() => fixture.create());
    });
  });
}

/** As a set, since keys of different shards have no order among each other. */
const comparable = (messages: readonly OutgoingMessage[]) =>
  messages
    .map(({ key, value, headers }) =>
      JSON.stringify([key, value.toString("hex"), Object.entries(headers ?? {}).sort()]),
    )
    .sort();
