/** Opens a topic log from a description that can be sent to a child process. One case for each adapter. */
import type { Context } from "../../src/context.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { createKafkaTopicTools } from "../../src/topics/kafka-topic-tools.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { createRedisTopicTools } from "../../src/topics/redis-topic-tools.ts";
import type { TopicLog } from "../../src/topics/topic-log.ts";
import type { TopicTools } from "../../src/topics/topic-tools.ts";

/** What a test may want otherwise, whatever keeps the log. */
export interface TopicLogWishes {
  retentionMs: number;
  maxBytesPerTopic: number;
  shards: number;
  leaseMs?: number;
}

export type TopicLogSpec = TopicLogWishes &
  ({ kind: "redis"; redisUrl: string } | { kind: "kafka"; brokers: string[] });

export function openTopicLog(spec: TopicLogSpec, context: Context): TopicLog {
  switch (spec.kind) {
    case "redis":
      return createRedisTopicLog(spec, context);
    case "kafka":
      return createKafkaTopicLog(spec, context);
    default:
      return spec satisfies never;
  }
}

/** Tools of the same topics; started, and stopped by the caller. */
export async function openTopicTools(spec: TopicLogSpec, context: Context): Promise<TopicTools> {
  const tools = spec.kind === "kafka" ? createKafkaTopicTools(spec, context) : createRedisTopicTools(spec, context);
  await tools.start();
  return tools;
}
