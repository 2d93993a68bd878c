/** Which log keeps the topics: Kafka where brokers are set, else the store. The one place that chooses. */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import type { Settings } from "../settings.ts";
import { type TopicNames, topicNameOf } from "../topic-names.ts";
import { type KafkaConnectionSettings, kafkaConnectionOf } from "./kafka-connection.ts";
import { createKafkaOutboxTransfer, type KafkaOutboxSettings } from "./kafka-outbox-transfer.ts";
import { createKafkaTopicLog } from "./kafka-topic-log.ts";
import { createKafkaTopicTools } from "./kafka-topic-tools.ts";
import { namedTopicLog } from "./named-topic-log.ts";
import { createRedisOutboxTransfer, type OpenOutboxTransfer, type OutboxTransfer } from "./outbox-transfer.ts";
import { createRedisTopicLog } from "./redis-topic-log.ts";
import { createRedisTopicTools } from "./redis-topic-tools.ts";
import type { TopicLog } from "./topic-log.ts";
import type { TopicTools } from "./topic-tools.ts";

const HOUR_MS = 3_600_000;

export type TopicSettings = KafkaConnectionSettings &
  TopicNames &
  Pick<
    Settings,
    "kafkaPartitioner" | "kafkaCompression" | "kafkaExactlyOnce" | "topicRetentionHours" | "topicMaxBytes"
  >;

/**
 * `redisUrl`: the store's, for topics that lie in it, and for what becomes of others' messages there. Callers name topics as TOPICS does; what a message says of its topic is
 * the name on the wire. `visits`: a tool, whose settings may be others than the running roles': it leaves the trimming of the
 * topics to those.
 */
export function openTopicLog(
  settings: TopicSettings,
  redisUrl: string,
  context: Context,
  { visits = false } = {},
): TopicLog {
  const kept = { retentionMs: settings.topicRetentionHours * HOUR_MS, maxBytesPerTopic: settings.topicMaxBytes };
  const onKafka = settings.kafkaBrokers.length > 0;
  const log = onKafka
    ? createKafkaTopicLog({ ...kept, ...kafkaOf(settings), ...(redisUrl && { storeUrl: redisUrl }) }, context)
    : createRedisTopicLog({ ...kept, redisUrl, trims: !visits }, context);
  return namedTopicLog(log, settings);
}

/** What people's tools ask and change of the topics, by their names on the wire, in the same place as `openTopicLog`. */
export function openTopicTools(settings: TopicSettings, redisUrl: string, context: Context): TopicTools {
  if (settings.kafkaBrokers.length > 0) return createKafkaTopicTools(kafkaOf(settings), context);
  return createRedisTopicTools({ redisUrl }, context);
}

/**
 * How outcomes leave the outbox for the topics, beside `topics`, which lie in the same place. Exactly once, but on Kafka where
 * kafkaExactlyOnce is off: at least once. `close` ends connections of its own; `redis` stays the caller's.
 */
export function openOutboxTransfer(
  settings: TopicSettings,
  redis: Redis,
  topics: Pick<TopicLog, "publish">,
  { outboxKey, nameOf }: Pick<KafkaOutboxSettings, "outboxKey" | "nameOf">,
  context: Context,
): OpenOutboxTransfer {
  const wire = topicNameOf(settings);
  const byWire = ({ transfer }: OutboxTransfer): OutboxTransfer => ({
    transfer: (topic, entries) => transfer(wire(topic), entries),
  });
  const bare = { trouble: () => null, close: async () => {} };
  if (settings.kafkaBrokers.length === 0) {
    return { ...byWire(createRedisOutboxTransfer(redis, { outboxKey }, context.clock)), ...bare };
  }
  if (settings.kafkaExactlyOnce) {
    const transferSettings = { ...kafkaOf(settings), outboxKey, nameOf, positionTopic: settings.resultsTopic };
    const exact = createKafkaOutboxTransfer(redis, transferSettings, context);
    return { ...exact, ...byWire(exact) };
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
    ...bare,
  };
}

const kafkaOf = (settings: TopicSettings) => ({
  ...kafkaConnectionOf(settings),
  partitioner: settings.kafkaPartitioner,
  compression: settings.kafkaCompression,
});
