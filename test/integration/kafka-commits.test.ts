/** What a group's reading costs its brokers: counted in Kafka's own topic of positions, where each note of a group stands. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { groupIdOf } from "../../src/topics/kafka-membership.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import type { TopicLog } from "../../src/topics/topic-log.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { silent } from "../support/pipeline.ts";
import { TopicReader } from "../support/topic-reader.ts";

const POSITIONS = "__consumer_offsets";
const BATCHES = 8;

describe.skipIf(!brokerThere)("the notes of a group's reading on Kafka", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await someKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  async function scene() {
    const settings = { retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 1 };
    const log = createKafkaTopicLog({ brokers: kafka.brokers, ...settings }, silent);
    onTestFinished(() => log.stop());
    await log.start();
    const topic = `t-${randomUUID()}`;
    await log.ensureTopic(topic);
    const value = Buffer.from("x");
    await log.publish(
      topic,
      Array.from({ length: BATCHES }, () => ({ key: "camera", value })),
    );
    const reader = new TopicReader(log, topic, { group: "readers", consumer: "a", maxMessages: 1 });
    return { log, reader, notes: () => notesOf(log, groupIdOf(topic, "readers")) };
  }

  test("the end of a batch and the hand-out of the next are one note for who asks for it before that end", async () => {
    const { reader, notes } = await scene();
    const batches = Array.from({ length: BATCHES }, () => reader.next());
    for (const batch of batches) await (await batch).acknowledge();
    expect(await notes()).toBe(1 + BATCHES + 1);
  });

  test("for who asks behind that end each has its own, so that nothing counts as handed out that is not", async () => {
    const { reader, notes } = await scene();
    for (let nth = 0; nth < BATCHES; nth += 1) await (await reader.next()).acknowledge();
    expect(await notes()).toBe(1 + 2 * BATCHES);
  });
});

/** Positions that were noted for the group so far; the first says where it begins. */
async function notesOf(log: TopicLog, groupId: string): Promise<number> {
  const ends = await log.ends(POSITIONS);
  const left = new Set(ends.flatMap((end, shard) => (BigInt(end) >= 0n ? [shard] : [])));
  const abort = new AbortController();
  let notes = 0;
  for await (const { shard, position, key } of log.tail(POSITIONS, "earliest", abort.signal)) {
    // The key: two bytes of version (0 and 1: positions), then group, topic and partition.
    if (key.startsWith("\0\u0001") && key.includes(groupId)) notes += 1;
    if (BigInt(position) >= BigInt(ends[shard] ?? -1)) left.delete(shard);
    if (left.size === 0) abort.abort();
  }
  return notes;
}
