/** Creates Kafka topics and lets them grow; never shrinks one, and leaves the settings of one that is there alone. */
import { type Admin, kafkaErrorType } from "./kafka-client.ts";
import type { KafkaTopicSettings } from "./kafka-topic-settings.ts";
import type { TopicWish } from "./topic-tools.ts";

const DEAD_LETTERS_MS = 7 * 24 * 3_600_000;
/** As the older system's topics have it: librdkafka's default limit of a message, and a little more for its headers. */
const MESSAGE_BYTES = 1_048_576;
/** Whatever fits its topic fits here too, with what a dead letter says besides. */
const DEAD_LETTER_BYTES = 4 * MESSAGE_BYTES;
const MOST_COPIES = 3;

export const isDeadLetterTopic = (topic: string) => topic.endsWith(".dlq");

/** Resolves with the number of partitions that the topic has. Rejects with kafkajs' errors. */
export async function ensureKafkaTopic(admin: Admin, topic: string, settings: KafkaTopicSettings): Promise<number> {
  const wish = wishOf(topic, settings);
  const found = await partitionsOf(admin, topic);
  if (found === 0) {
    await createKafkaTopic(admin, wish);
    return wish.shards;
  }
  if (found >= wish.shards || isDeadLetterTopic(topic)) return found;
  await growKafkaTopic(admin, topic, wish.shards);
  return wish.shards;
}

function wishOf(topic: string, { retentionMs, maxBytesPerTopic, shards = 16 }: KafkaTopicSettings): TopicWish {
  const base = { topic, copies: MOST_COPIES, maxBytes: maxBytesPerTopic, kafka: {} };
  if (!isDeadLetterTopic(topic)) return { ...base, shards, retentionMs, maxMessageBytes: MESSAGE_BYTES };
  const kept = Math.max(retentionMs, DEAD_LETTERS_MS);
  return { ...base, shards: 1, retentionMs: kept, maxMessageBytes: DEAD_LETTER_BYTES };
}

/** 0: there is no such topic. */
export async function partitionsOf(admin: Admin, topic: string): Promise<number> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0]?.partitions.length ?? 0;
  } catch (error) {
    if (kafkaErrorType(error) === "UNKNOWN_TOPIC_OR_PARTITION") return 0;
    throw error;
  }
}

/** The settings of a topic with so many partitions and copies that is kept as wished, by Kafka's names. */
export function kafkaConfigOf(wish: TopicWish, partitions: number, copies: number): Record<string, string> {
  return {
    "cleanup.policy": "delete",
    "retention.ms": String(wish.retentionMs),
    "retention.bytes": String(Math.max(1, Math.floor(wish.maxBytes / partitions))),
    "max.message.bytes": String(wish.maxMessageBytes),
    // Ages are told by the log's clock, as the contract says.
    "message.timestamp.type": "LogAppendTime",
    // What was acknowledged is on two of three brokers.
    ...(copies > 2 && { "min.insync.replicas": String(copies - 1) }),
    ...wish.kafka,
  };
}

/** A topic that is there already stays as it is. */
export async function createKafkaTopic(admin: Admin, wish: TopicWish): Promise<void> {
  const { brokers } = await admin.describeCluster();
  const { topic, shards: numPartitions } = wish;
  const copies = Math.min(wish.copies, brokers.length);
  const config = kafkaConfigOf(wish, numPartitions, copies);
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
  try {
    await admin.createTopics({
      waitForLeaders: true,
      topics: [{ topic, numPartitions, replicationFactor: copies, configEntries }],
    });
  } catch (error) {
    if (kafkaErrorType(error) !== "TOPIC_ALREADY_EXISTS") throw error;
  }
}

/** Growing moves keys to other partitions, so that their order is kept only from then on. */
export async function growKafkaTopic(admin: Admin, topic: string, count: number): Promise<void> {
  await admin.createPartitions({ topicPartitions: [{ topic, count }] }).catch((error: unknown) => {
    if (kafkaErrorType(error) !== "INVALID_PARTITIONS") throw error; // somebody else was quicker
  });
}
