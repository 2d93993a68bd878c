/** Names of the Redis topics' keys and settings that all their parts share. The layout itself: redis-topic.lua. */

export interface RedisTopicSettings {
  redisUrl: string;
  /** How long messages are kept, ms. Dead letters: seven days at least. */
  retentionMs: number;
  /** Bytes that one topic may take in the store; the oldest messages go first. */
  maxBytesPerTopic: number;
  /** Shards of a topic that does not exist yet. Default 16. Dead-letter topics have one. */
  shards?: number;
  /** False: other processes keep the topics within retention and bytes. Default true. */
  trims?: boolean;
  /** Default "vl:topic:". */
  prefix?: string;
  /** How long after its last sign of life a consumer's shards go to others, ms. Default 3,000. */
  leaseMs?: number;
}

/** All of a topic's keys begin with this one, which Lua gets as KEYS[1]. */
export function topicKey(prefix: string, topic: string): string {
  if (!/^[A-Za-z0-9._-]{1,200}$/.test(topic)) throw new TypeError(`${topic} is no name of a topic`);
  return prefix + topic;
}

export const streamKey = (topic: string, shard: number) => `${topic}:${shard}`;
export const metaKey = (topic: string) => `${topic}:meta`;
export const groupKey = (topic: string, group: string) => `${topic}:group:${group}`;
export const wakeKey = (group: string, consumer: string) => `${group}:wake:${consumer}`;

export const isDeadLetterTopic = (topic: string) => topic.endsWith(".dlq");
