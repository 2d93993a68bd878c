/** Which log keeps the topics: Kafka where brokers are set, else the store. The one place that chooses. */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import type { Settings } from "../settings.ts";
import { createKafkaOutboxTransfer } from "./kafka-outbox-transfer.ts";
import { createKafkaTopicLog } from "./kafka-topic-log.ts";
import { createRedisOutboxTransfer, type OutboxTransfer } from "./outbox-transfer.ts";
import { createRedisTopicLog } from "./redis-topic-log.ts";
import { TOPICS, type TopicLog } from "./topic-log.ts";

const HOUR_MS = 3_600_000;

export type TopicSettings = Pick<
  Settings,
  "kafkaBrokers" | "kafkaPartitioner" | "kafkaExactlyOnce" | "topicRetentionHours" | "topicMaxBytes"
>;

/** `redisUrl`: the store's, for topics that lie in it. */
export function openTopicLog(settings: TopicSettings, redisUrl: string, context: Context): TopicLog {
  const { kafkaBrokers: brokers, kafkaPartitioner: partitioner, topicMaxBytes: maxBytesPerTopic } = settings;
  const kept = { retentionMs: settings.topicRetentionHours * HOUR_MS, maxBytesPerTopic };
  if (brokers.length > 0) return createKafkaTopicLog({ ...kept, brokers, partitioner }, context);
  return createRedisTopicLog({ ...kept, redisUrl }, context);
}

/**
 * How outcomes leave the outbox for the topics, beside `topics`, which lie in the same place. Exactly once, but on Kafka where
 * kafkaExactlyOnce is off: at least once. `close` ends connections of its own; `redis` stays the caller's.
 */
export function openOutboxTransfer(
  settings: TopicSettings,
  redis: Redis,
  topics: Pick<TopicLog, "publish">,
  outboxKey: string,
  context: Context,
): OutboxTransfer & { close(): Promise<void> } {
  const { kafkaBrokers: brokers, kafkaPartitioner: partitioner } = settings;
  const close = async () => {};
  if (brokers.length === 0) return { ...createRedisOutboxTransfer(redis, { outboxKey }, context.clock), close };
  if (settings.kafkaExactlyOnce) {
    return createKafkaOutboxTransfer(
      redis,
      { brokers, partitioner, outboxKey, positionTopic: TOPICS.results },
      context,
    );
  }
  return {
    async transfer(topic, entries) {
      await topics.publish(
        topic,
        entries.map(({ message }) => message),
      );
      if (entries.length > 0) await redis.xdel(outboxKey, ...entries.map(({ outboxId }) => outboxId));
      return entries.length;
    },
    close,
  };
}
