/** Opens a topic log from a description that can be sent to a child process. One case for each adapter. */
import type { Context } from "../../src/context.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import type { TopicLog } from "../../src/topics/topic-log.ts";

export type TopicLogSpec = {
  kind: "redis";
  redisUrl: string;
  retentionMs: number;
  maxBytesPerTopic: number;
  shards: number;
  leaseMs?: number;
};

export function openTopicLog(spec: TopicLogSpec, context: Context): TopicLog {
  switch (spec.kind) {
    case "redis":
      return createRedisTopicLog(spec, context);
    default:
      return spec.kind satisfies never;
  }
}
