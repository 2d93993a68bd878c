/** Which log keeps the topics: Kafka where brokers are set, else the store. The one place that chooses. */
import type { Context } from "../context.ts";
import type { Settings } from "../settings.ts";
import { createKafkaTopicLog } from "./kafka-topic-log.ts";
import { createRedisTopicLog } from "./redis-topic-log.ts";
import type { TopicLog } from "./topic-log.ts";

const HOUR_MS = 3_600_000;

export type TopicSettings = Pick<
  Settings,
  "kafkaBrokers" | "kafkaPartitioner" | "topicRetentionHours" | "topicMaxBytes"
>;

/** `redisUrl`: the store's, for topics that lie in it. */
export function openTopicLog(settings: TopicSettings, redisUrl: string, context: Context): TopicLog {
  const { kafkaBrokers: brokers, kafkaPartitioner: partitioner, topicMaxBytes: maxBytesPerTopic } = settings;
  const kept = { retentionMs: settings.topicRetentionHours * HOUR_MS, maxBytesPerTopic };
  if (brokers.length > 0) return createKafkaTopicLog({ ...kept, brokers, partitioner }, context);
  return createRedisTopicLog({ ...kept, redisUrl }, context);
}
