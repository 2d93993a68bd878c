/**
 * What every adapter of the TopicLog contract must show when processes die, stop and wake, and when the store or broker
 * is killed: real child processes, real signals. A promise of n seconds is a time-out of three times n here.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Batch, deadLetterTopic, type TopicMessage } from "../../src/topics/topic-log.ts";
import { ConsumerProcess, isBatch, isPoison, isRefused } from "../support/consumer-process.ts";
import type { ConsumerOrder, ToldMessage } from "../support/topic-consumer.ts";
import { keysOf, numbersOf, said, sceneOf, type TopicLogFixture, upTo } from "./topic-log-scene.ts";

/** A dead consumer's shards are with others within 5 s. */
const TAKEOVER_MS = 5_000;

export function topicLogProcessConformance(name: string, fixture: TopicLogFixture): void {
  describe(`${name} keeps the contract of the topics when processes die`, () => {
    const scene = async (shards = 16) => {
      const at = await sceneOf(fixture, shards);
      const ledger = join(mkdtempSync(join(tmpdir(), "vigilane-ledger-")), "processed");
      writeFileSync(ledger, "");
      onTestFinished(() => rmSync(dirname(ledger), { recursive: true, force: true }));
      /** All that the children have processed, in order, repetitions included. */
      const processed = (): string[] =>
        readFileSync(ledger, "utf8")
          .split("\n")
          .slice(0, -1)
          .map((line) => Buffer.from((JSON.parse(line) as ToldMessage).valueBase64, "base64").toString());
      const child = (order: Partial<ConsumerOrder> = {}) =>
        new ConsumerProcess({
          ...{
            spec: fixture.spec({ shards }),
            topic: at.topic,
            group: "readers",
            consumer: "child",
            acknowledge: true,
            ledger,
          },
          ...order,
        });
      return { ...at, child, processed };
    };

    test("what a killed consumer had not acknowledged goes to another one, in order", {
      timeout: 3 * TAKEOVER_MS,
    }, async () => {
      const { log, topic, child, reader } = await scene(1);
      await log.publish(
        topic,
        upTo(10).map((n) => said("a", n)),
      );
      const doomed = child({ acknowledge: false, maxMessages: 4 });
      const out = await doomed.until(isBatch);
      await doomed.kill("SIGKILL");
      const read = await reader({ consumer: "successor" }).take(10);
      expect(numbersOf(read, "a")).toEqual(upTo(10));
      expect(read.map((m) => m.deliveries > 1)).toEqual(upTo(10).map((n) => n < out.messages.length));
    });

    test("a restarted consumer of the same name goes on at once", { timeout: 3 * TAKEOVER_MS }, async () => {
      const { log, topic, child, reader } = await scene(4);
      await log.publish(
        topic,
        keysOf(20).map((key) => said(key, 0)),
      );
      const doomed = child({ acknowledge: false, consumer: "same" });
      await doomed.until(isBatch);
      await doomed.kill("SIGKILL");
      const since = performance.now();
      await reader({ consumer: "same" }).take(20);
      expect(performance.now() - since).toBeLessThan(2_500);
    });

    test("a zombie's acknowledgement is refused, and nothing is lost or swallowed by it", {
      timeout: 6 * TAKEOVER_MS,
    }, async () => {
      const { log, topic, child, reader } = await scene(1);
      const zombie = child({ acknowledge: false, maxMessages: 3 });
      await log.publish(
        topic,
        upTo(3).map((n) => said("a", n)),
      );
      await zombie.until(isBatch);
      await zombie.kill("SIGSTOP");
      const successor = reader({ consumer: "successor" });
      await log.publish(
        topic,
        upTo(6)
          .slice(3)
          .map((n) => said("a", n)),
      ); // while the zombie sleeps in its read
      const read = await successor.take(6);
      expect(numbersOf(read, "a")).toEqual(upTo(6));
      await zombie.kill("SIGCONT");
      zombie.acknowledge();
      expect((await zombie.until(isRefused)).code).toBe("OWNERSHIP_LOST");
      await log.publish(
        topic,
        upTo(9)
          .slice(6)
          .map((n) => said("a", n)),
      );
      await successor.close();
      zombie.acknowledge(); // now it may have the shard again
      const all = [...numbersOf(read, "a"), ...(await zombie.valuesAcknowledged("a", 3))];
      expect(all).toEqual(upTo(9));
    });

    test("a message that ends its process again and again goes to the dead letters; its neighbours live", {
      timeout: 90_000,
    }, async () => {
      const { log, topic, child, reader, processed } = await scene(2);
      const poison = { key: "bad", value: Buffer.from("poison"), headers: { traceparent: "00-7" } };
      const around = keysOf(8);
      await log.publish(topic, [
        ...around.map((key) => said(key, 0)),
        said("bad", 0),
        poison,
        said("bad", 1),
        ...around.map((key) => said(key, 1)),
      ]);
      const told: ConsumerProcess["told"] = [];
      let deaths = 0;
      for (let alive = false; !alive; ) {
        const consumer = child({ dieOn: "poison" });
        alive = await Promise.race([consumer.exited().then(() => false), consumer.until(isPoison).then(() => true)]);
        if (alive) await consumer.drained(async () => (await log.lag(topic, "readers")).messages === 0);
        told.push(...consumer.told);
        deaths += alive ? 0 : 1;
      }
      expect(deaths).toBe(6); // once among others, then five strikes alone
      const asked = told.filter(isPoison);
      expect(asked.map(({ message }) => message.valueBase64)).toEqual([poison.value.toString("base64")]);
      const [letter] = await reader({}, deadLetterTopic(topic)).take(1);
      expect(letter).toMatchObject({ key: "bad", value: poison.value });
      expect(letter?.headers).toMatchObject({
        ...poison.headers,
        "dead-letter-code": "POISON",
        "dead-letter-topic": topic,
      });
      // Nobody else was dead-lettered, and nobody else is missing.
      const rest = reader({ group: "audit" });
      expect(await rest.take(2 * around.length + 3)).toHaveLength(2 * around.length + 3);
      const wanted = [...around, "bad"].flatMap((key) => [`${key} 0`, `${key} 1`]);
      expect([...new Set(processed())].sort()).toEqual(wanted.sort());
      expect((await log.lag(topic, "readers")).messages).toBe(0);
    });

    test("order per key holds while consumers are killed one after the other", { timeout: 120_000 }, async () => {
      const { log, topic, child, processed } = await scene(4);
      const keys = keysOf(10);
      const publishing = (async () => {
        for (const n of upTo(100))
          await log.publish(
            topic,
            keys.map((key) => said(key, n)),
          );
      })();
      for (const victim of upTo(3)) {
        const consumer = child({ consumer: `victim-${victim % 2}`, maxMessages: 5, asksAhead: victim !== 1 });
        await consumer.acknowledgements(10);
        await consumer.kill("SIGKILL");
      }
      await publishing;
      const last = child({ consumer: "last" });
      await last.drained(async () => (await log.lag(topic, "readers")).messages === 0);
      const all = processed();
      for (const key of keys) {
        // Repetitions are allowed, but every first time is in order and none is missing.
        const numbers = all.filter((value) => value.startsWith(`${key} `)).map((value) => Number(value.split(" ")[1]));
        expect(numbers.filter((n, i) => numbers.indexOf(n) === i)).toEqual(upTo(100));
      }
    });

    test("killing and restarting the store loses nothing that was published, and everybody goes on", {
      timeout: 3 * (3 * fixture.restartMs + 10_000),
    }, async () => {
      const { log, topic, reader } = await scene(4);
      const keys = keysOf(6);
      const read: TopicMessage[] = [];
      const total = 60 * keys.length;
      const reading = reader().until((messages) => {
        read.splice(0, read.length, ...messages);
        return new Set(messages.map((m) => m.value.toString())).size === total;
      });
      for (const n of upTo(60)) {
        const published = log.publish(
          topic,
          keys.map((key) => said(key, n)),
        );
        if (n % 20 === 10) {
          await fixture.crashStore(); // the publish is on its way
          await fixture.restoreStore();
        }
        await published;
      }
      await reading;
      for (const key of keys) {
        const numbers = numbersOf(read, key);
        expect(numbers.filter((n, i) => numbers.indexOf(n) === i)).toEqual(upTo(60));
      }
    });

    test("a batch that is out when the store is killed can still be ended, or comes again", {
      timeout: 3 * (fixture.restartMs + 10_000),
    }, async () => {
      const { log, topic, reader } = await scene(1);
      await log.publish(topic, [said("a", 0)]);
      const consumer = reader();
      const out: Batch = await consumer.next();
      await fixture.crashStore();
      const ending = out.acknowledge().then(
        () => "acknowledged",
        (error: { code?: string }) => error.code,
      );
      await fixture.restoreStore();
      await log.publish(topic, [said("a", 1)]);
      const ended = await ending;
      expect(["acknowledged", "OWNERSHIP_LOST"]).toContain(ended);
      const rest = await consumer.until((messages) => numbersOf(messages, "a").includes(1));
      expect(numbersOf(rest, "a")).toEqual(ended === "acknowledged" ? [1] : [0, 1]);
    });

    test("a batch asked for behind one that ends while the store is killed comes after it, and once", {
      timeout: 3 * (fixture.restartMs + 10_000),
    }, async () => {
      const { log, topic, reader } = await scene(1);
      await log.publish(
        topic,
        upTo(3).map((n) => said("a", n)),
      );
      const consumer = reader({ maxMessages: 1 });
      const out: Batch = await consumer.next();
      const behind = consumer.next();
      await fixture.crashStore();
      const ending = out.acknowledge().then(
        () => "acknowledged",
        (error: { code?: string }) => error.code,
      );
      await fixture.restoreStore();
      const ended = await ending;
      expect(["acknowledged", "OWNERSHIP_LOST"]).toContain(ended);
      const next = await behind;
      await next.acknowledge();
      const rest = await consumer.until((messages) => numbersOf(messages, "a").includes(2));
      const all = [...numbersOf(next.messages, "a"), ...numbersOf(rest, "a")];
      expect(all).toEqual(ended === "acknowledged" ? [1, 2] : [0, 1, 2]);
      expect((await log.lag(topic, "readers")).messages).toBe(0);
    });
  });
}
