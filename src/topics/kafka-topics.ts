/** Creates Kafka topics and lets them grow; never shrinks one, and leaves the settings of one that is there alone. */
import { type Admin, kafkaErrorType } from "./kafka-client.ts";
import type { KafkaTopicSettings } from "./kafka-topic-settings.ts";

const DEAD_LETTERS_MS = 7 * 24 * 3_600_000;
/** As the older system's topics have it: librdkafka's default limit of a message, and a little more for its headers. */
const MESSAGE_BYTES = 1_048_576;
const MOST_COPIES = 3;

export const isDeadLetterTopic = (topic: string) => topic.endsWith(".dlq");

/** Resolves with the number of partitions that the topic has. Rejects with kafkajs' errors. */
export async function ensureKafkaTopic(admin: Admin, topic: string, settings: KafkaTopicSettings): Promise<number> {
  const wanted = isDeadLetterTopic(topic) ? 1 : (settings.shards ?? 16);
  const found = await partitionsOf(admin, topic);
  if (found === 0) {
    await create(admin, topic, wanted, settings);
    return wanted;
  }
  if (found >= wanted || isDeadLetterTopic(topic)) return found;
  // Growing moves keys to other partitions, so that their order is kept only from then on.
  await admin.createPartitions({ topicPartitions: [{ topic, count: wanted }] }).catch((error: unknown) => {
    if (kafkaErrorType(error) !== "INVALID_PARTITIONS") throw error; // somebody else was quicker
  });
  return wanted;
}

async function partitionsOf(admin: Admin, topic: string): Promise<number> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0]?.partitions.length ?? 0;
  } catch (error) {
    if (kafkaErrorType(error) === "UNKNOWN_TOPIC_OR_PARTITION") return 0;
    throw error;
  }
}

async function create(admin: Admin, topic: string, numPartitions: number, settings: KafkaTopicSettings): Promise<void> {
  const { brokers } = await admin.describeCluster();
  const retentionMs = isDeadLetterTopic(topic) ? Math.max(settings.retentionMs, DEAD_LETTERS_MS) : settings.retentionMs;
  const copies = Math.min(MOST_COPIES, brokers.length);
  const config = {
    "cleanup.policy": "delete",
    "retention.ms": retentionMs,
    "retention.bytes": Math.max(1, Math.floor(settings.maxBytesPerTopic / numPartitions)),
    "max.message.bytes": MESSAGE_BYTES,
    // Ages are told by the log's clock, as the contract says.
    "message.timestamp.type": "LogAppendTime",
    // What was acknowledged is on two of three brokers.
    ...(copies > 2 && { "min.insync.replicas": copies - 1 }),
  };
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value: String(value) }));
  try {
    await admin.createTopics({
      waitForLeaders: true,
      topics: [{ topic, numPartitions, replicationFactor: copies, configEntries }],
    });
  } catch (error) {
    if (kafkaErrorType(error) !== "TOPIC_ALREADY_EXISTS") throw error;
  }
}
