/**
 * Leaders killed one after the other, of three: nothing acknowledged is missing from the log, every key keeps its order, and
 * the consumer goes on by itself each time; and the results that are written back meanwhile stand there exactly once, for
 * readers of committed messages. kafkajs' own send and consumer fail both (docs/decisions/013-kafkajs.md).
 */
import { randomUUID } from "node:crypto";
import { Kafka, logLevel } from "kafkajs";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { keyToShard } from "../../src/topics/key-to-shard.ts";
import { keysOf, numbersOf, said, upTo } from "../conformance/topic-log-scene.ts";
import { javaThere, startKafka } from "../support/kafka.ts";
import { TopicReader } from "../support/topic-reader.ts";
import { moves, writeBackScene } from "../support/write-back-scene.ts";

const LONG = process.env.VIGILANE_LONG === "1";
const KILLS = LONG ? 100 : 3;
/** Between two messages of a key: what three brokers on two cores bear beside other tests. */
const PACE_MS = LONG ? 5 : 20;
/** A leader's death is over within 10 s for whoever publishes and reads; three times that on a busy machine. */
const ON_AGAIN_MS = 30_000;
const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };

describe.skipIf(!javaThere)("three real Kafka nodes", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await startKafka({ nodes: 3 });
  }, 180_000);
  afterAll(() => kafka.stop());

  /** A topic that is published to, read from and written back to without a pause, until `finish`, which judges it. */
  async function flow() {
    const topic = `t-${randomUUID()}`;
    const settings = { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 30, shards: 6 };
    const log = createKafkaTopicLog(settings, context);
    onTestFinished(() => log.stop());
    await log.start();
    await log.ensureTopic(topic);
    const admin = new Kafka({ brokers: kafka.brokers, logLevel: logLevel.NOTHING }).admin();
    onTestFinished(() => admin.disconnect());
    await admin.connect();
    const partitions = async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]?.partitions ?? [];
    const copies = async () => (await partitions().catch(() => [])).map(({ isr }) => isr.length);

    const keys = keysOf(12);
    const acknowledged = new Map(keys.map((key) => [key, -1]));
    const lowest = () => Math.min(...acknowledged.values());
    const stop = new AbortController();
    const publishing = keys.map(async (key) => {
      for (let n = 0; !stop.signal.aborted; n += 1) {
        await log.publish(topic, [said(key, n)]);
        acknowledged.set(key, n);
        await systemClock.sleep(PACE_MS);
      }
    });
    const seen = new Map(keys.map((key) => [key, [] as number[]]));
    const subscription = log.subscribe(topic, { group: "readers", consumer: "a" });
    const reading = (async () => {
      for await (const batch of subscription.batches()) {
        for (const { key, value } of batch.messages)
          seen.get(key)?.push(Number(value.toString().slice(key.length + 1)));
        await batch.acknowledge().catch(() => {}); // taken anew: it comes again
      }
    })();
    const read = () => Math.min(...keys.map((key) => seen.get(key)?.at(-1) ?? -1));
    const { offer, writer, published, offered } = await writeBackScene(kafka.brokers, ON_AGAIN_MS);
    const writes = writer();
    let moved = 0;
    writes.on("message", (told: { moved?: number }) => {
      moved += told.moved ?? 0;
    });
    await offer(100);
    await moves(writes, 1);
    await expect.poll(read, { timeout: ON_AGAIN_MS, interval: 50 }).toBeGreaterThan(0); // it flows
    return {
      inStep: () => expect.poll(copies, { timeout: 90_000, interval: 200 }).toEqual(upTo(6).map(() => 3)),
      async leaderOf(partition: number) {
        const leader = (await partitions()).find(({ partitionId }) => partitionId === partition)?.leader;
        return kafka.nodes.find(({ id }) => id === leader);
      },
      /** Publishing, reading and writing back get on from here. */
      async goesOn() {
        const [at, movedBefore] = [lowest(), moved];
        await offer(100);
        await expect.poll(lowest, { timeout: ON_AGAIN_MS, interval: 50 }).toBeGreaterThan(at + 20);
        await expect.poll(read, { timeout: ON_AGAIN_MS, interval: 50 }).toBeGreaterThan(at + 20);
        await expect.poll(() => moved, { timeout: ON_AGAIN_MS, interval: 50 }).toBeGreaterThan(movedBefore);
      },
      async finish() {
        stop.abort();
        await Promise.all(publishing);
        const total = (key: string) => (acknowledged.get(key) ?? -1) + 1;
        await expect
          .poll(() => keys.every((key) => seen.get(key)?.includes(total(key) - 1)), { timeout: ON_AGAIN_MS })
          .toBe(true);
        await subscription.close();
        await reading;
        for (const key of keys) {
          const numbers = seen.get(key) ?? [];
          // Repetitions are allowed to a reader, but every first time is in order and none is missing.
          expect(numbers.filter((n, i) => numbers.indexOf(n) === i)).toEqual(upTo(total(key)));
        }
        const audit = new TopicReader(log, topic, { group: "audit", consumer: "a" });
        const inLog = await audit.take(sumOf(keys.map(total)));
        // And in the log itself each stands once: a send that was tried again was known by its sequence number.
        for (const key of keys) expect(numbersOf(inLog, key)).toEqual(upTo(total(key)));
        expect((await log.lag(topic, "audit")).messages).toBe(0);
        expect(await published()).toEqual(offered());
      },
    };
  }

  test(`${KILLS} leaders killed lose nothing, and reading goes on each time`, {
    timeout: 120_000 + KILLS * 60_000,
  }, async () => {
    const { inStep, leaderOf, goesOn, finish } = await flow();
    for (const kill of upTo(KILLS)) {
      await inStep();
      const node = await leaderOf(kill % 6);
      await node?.kill("SIGKILL");
      await goesOn();
      await node?.start();
    }
    await finish();
  });

  const long = LONG ? test : () => {};
  long("a leader that stands still, its connections open, holds nobody up for long", { timeout: 240_000 }, async () => {
    const { inStep, leaderOf, goesOn, finish } = await flow();
    await inStep();
    const node = await leaderOf(0);
    await node?.kill("SIGSTOP");
    onTestFinished(async () => void (await node?.kill("SIGCONT")));
    await goesOn();
    await node?.kill("SIGCONT");
    await inStep();
    await finish();
  });

  long(
    "partitions that lack a copy take nothing, and that is said, until their broker is back",
    { timeout: 240_000 },
    async () => {
      const topic = `t-${randomUUID()}`;
      const admin = new Kafka({ brokers: kafka.brokers, logLevel: logLevel.NOTHING }).admin();
      onTestFinished(() => admin.disconnect());
      await admin.connect();
      const [both, copy, other] = kafka.nodes.map(({ id }) => id);
      if (both === undefined || copy === undefined || other === undefined) throw new Error("there are not three nodes");
      await admin.createTopics({
        topics: [
          {
            topic,
            replicaAssignment: [
              { partition: 0, replicas: [both, copy] },
              { partition: 1, replicas: [both, other] },
            ],
            configEntries: [{ name: "min.insync.replicas", value: "2" }],
          },
        ],
        waitForLeaders: true,
      });
      const settings = { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 30, shards: 2 };
      const log = createKafkaTopicLog(settings, context);
      onTestFinished(() => log.stop());
      await log.start();
      const [lacks, whole] = [0, 1].map((shard) => keysOf(20).find((key) => keyToShard(key, 2) === shard) ?? "");
      await log.publish(topic, [said(lacks ?? "", 0), said(whole ?? "", 0)]);

      const away = kafka.nodes.find(({ id }) => id === copy);
      await away?.kill("SIGKILL");
      const waiting = log.publish(topic, [said(lacks ?? "", 1)]);
      await expect
        .poll(
          async () => {
            await log.publish(topic, [said(whole ?? "", 1)]);
            return log.trouble();
          },
          { timeout: 3 * 30_000, interval: 200 },
        )
        .toMatchObject({
          code: "BROKER_REFUSED",
          message: expect.stringMatching(/take no message for partition 0 of this topic \(NOT_ENOUGH_REPLICAS/),
          remedy: expect.stringContaining("min.insync.replicas"),
        });
      await away?.start();
      await waiting;
      expect(log.trouble()).toBeNull();
    },
  );
});

const sumOf = (numbers: readonly number[]) => numbers.reduce((sum, n) => sum + n, 0);
