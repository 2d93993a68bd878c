/** What only the Kafka adapter has to show, on a real broker. */
import { randomUUID } from "node:crypto";
import { Kafka, logLevel } from "kafkajs";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import type { KafkaTopicSettings } from "../../src/topics/kafka-topic-settings.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { TopicReader } from "../support/topic-reader.ts";
import { keysOf, numbersOf, said, upTo } from "./topic-log-scene.ts";

const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };

describe.skipIf(!brokerThere)("the topics on a real Kafka broker, besides the contract", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await someKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  async function open(more: Partial<KafkaTopicSettings> = {}) {
    const settings = { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 4, ...more };
    const log = createKafkaTopicLog(settings, context);
    onTestFinished(() => log.stop());
    await log.start();
    return log;
  }
  const rawKafka = () => new Kafka({ brokers: kafka.brokers, logLevel: logLevel.NOTHING });
  async function admin() {
    const client = rawKafka().admin();
    onTestFinished(() => client.disconnect());
    await client.connect();
    return client;
  }
  const aTopic = () => `t-${randomUUID()}`;

  test("a topic grows under load: nothing is lost, and the new partitions are read", async () => {
    const topic = aTopic();
    const log = await open({ shards: 2 });
    await log.ensureTopic(topic);
    const keys = keysOf(40);
    const reader = new TopicReader(log, topic, { group: "readers", consumer: "a" });
    let published = 0;
    const shards = new Set<number>();
    const reading = reader.until((messages) => {
      for (const { shard } of messages.slice(-200)) shards.add(shard);
      return shards.size === 8 && messages.length === published && stop.signal.aborted;
    });
    const stop = new AbortController();
    const publishing = (async () => {
      for (let n = 0; !stop.signal.aborted; n += 1) {
        await log.publish(
          topic,
          keys.map((key) => said(key, n)),
        );
        published += keys.length;
      }
    })();
    await (await open({ shards: 8 })).ensureTopic(topic);
    await expect.poll(() => shards.size, { timeout: 50_000 }).toBe(8);
    stop.abort();
    await publishing;
    await log.publish(topic, [said("last", 0)]); // so that the reader looks at its condition once more
    published += 1;
    const read = await reading;
    for (const key of keys) expect(new Set(numbersOf(read, key))).toEqual(new Set(upTo((published / keys.length) | 0)));
    await (await open({ shards: 2 })).ensureTopic(topic);
    expect((await (await admin()).fetchTopicMetadata({ topics: [topic] })).topics[0]?.partitions).toHaveLength(8);
  });

  test("a batch that takes longer than the session keeps its shard, and holds up no other", async () => {
    const topic = aTopic();
    const log = await open({ leaseMs: 1_500 });
    await log.ensureTopic(topic);
    const consumer = new TopicReader(log, topic, { group: "readers", consumer: "a" });
    await log.publish(
      topic,
      keysOf(20).map((key) => said(key, 0)),
    );
    const slow = await consumer.next();
    const since = performance.now();
    for (let n = 1; performance.now() - since < 5_000; n += 1) {
      await log.publish(
        topic,
        keysOf(20).map((key) => said(key, n)),
      );
      const other = await consumer.next();
      expect(other.shard).not.toBe(slow.shard);
      await other.acknowledge();
    }
    await slow.acknowledge();
    await expect
      .poll(
        async () => {
          await (await consumer.next()).acknowledge();
          return (await log.lag(topic, "readers")).messages;
        },
        { timeout: 30_000 },
      )
      .toBe(0);
  });

  test("transactions: what was aborted is not read, and the lag becomes 0 behind their ends", async () => {
    const topic = aTopic();
    const log = await open({ shards: 1 });
    await log.ensureTopic(topic);
    const producer = rawKafka().producer({ transactionalId: aTopic(), idempotent: true, maxInFlightRequests: 1 });
    onTestFinished(() => producer.disconnect());
    await producer.connect();
    for (const end of ["commit", "abort", "commit"] as const) {
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: [{ key: "a", value: end }] });
      await transaction[end]();
    }
    const last = await producer.transaction();
    await last.send({ topic, messages: [{ key: "a", value: "abort" }] });
    await last.abort();
    expect((await log.lag(topic, "readers")).messages).toBe(8); // unread ends of transactions are counted
    const consumer = new TopicReader(log, topic, { group: "readers", consumer: "a" });
    expect((await consumer.take(2)).map((m) => m.value.toString())).toEqual(["commit", "commit"]);
    const more = consumer.next();
    more.catch(() => {});
    await expect
      .poll(() => log.lag(topic, "readers"), { timeout: 15_000 })
      .toEqual({ messages: 0, oldestAgeMs: 0, lost: 0 });
    expect(await log.ends(topic)).toEqual(["4"]); // the last message, not what stands behind it
  });

  test("messages that were deleted before a group read them are counted, and reading goes on", async () => {
    const topic = aTopic();
    const log = await open({ shards: 1 });
    await log.ensureTopic(topic);
    for (const n of upTo(10)) await log.publish(topic, [said("a", n)]);
    const first = new TopicReader(log, topic, { group: "readers", consumer: "a", maxMessages: 3 });
    await (await first.next()).acknowledge();
    await first.close();
    const client = await admin();
    await client.fetchTopicOffsets(topic); // kafkajs has to know who leads
    await client.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "7" }] });
    expect(await log.lag(topic, "readers")).toMatchObject({ messages: 3, lost: 4 });
    const again = new TopicReader(log, topic, { group: "readers", consumer: "a" });
    expect(numbersOf(await again.take(3), "a")).toEqual([7, 8, 9]);
    await expect
      .poll(() => log.lag(topic, "readers"), { timeout: 15_000 })
      .toEqual({ messages: 0, oldestAgeMs: 0, lost: 4 });
  });

  test("what waiting does not mend ends the process, so that its supervisor starts it again", async () => {
    const topic = aTopic();
    const left = Promise.withResolvers<unknown>();
    const log = await open({ leaseMs: 100, leave: left.resolve });
    await log.ensureTopic(topic);
    const next = new TopicReader(log, topic, { group: "readers", consumer: "a" }).next();
    next.catch(() => {});
    expect(String(await left.promise)).toMatch(/session timeout/i);
  });

  test("a message that is too large is refused by name, and its neighbours are published", async () => {
    const topic = aTopic();
    const log = await open({ shards: 1 });
    await log.ensureTopic(topic);
    const [small, large] = [said("a", 0), { key: "a", value: Buffer.alloc(2_000_000, 1) }];
    const outcomes = await Promise.allSettled(
      [small, large, said("a", 1)].map((message) => log.publish(topic, [message])),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(outcomes[1]).toMatchObject({ reason: { code: "BROKER_REFUSED" } });
    expect(numbersOf(await new TopicReader(log, topic, { group: "g", consumer: "a" }).take(2), "a")).toEqual([0, 1]);
  });
});
