/** Settings of the topics on Kafka that all their parts share. */
import type { Compression } from "./kafka-client.ts";
import type { KafkaConnection } from "./kafka-connection.ts";

export interface KafkaTopicSettings extends KafkaConnection {
  /** How long messages are kept, ms. Dead letters: seven days at least. Only for topics that do not exist yet. */
  retentionMs: number;
  /** Bytes that one topic may take, over all of its partitions. Only for topics that do not exist yet. */
  maxBytesPerTopic: number;
  /** Partitions of a topic that does not exist yet, or that has fewer. Default 16. Dead-letter topics have one. */
  shards?: number;
  /** How a key's partition is chosen: as Java's producers and our own do, or as librdkafka's. Default "murmur2". */
  partitioner?: "murmur2" | "crc32";
  /** Of what we write; every one of them is read. Default "none". */
  compression?: Compression;
  /** How long after its last heartbeat a consumer's shards go to others, ms. Default 6,000, the least that brokers allow by default. */
  leaseMs?: number;
  /** The store that has the effects of what is read, where it may forget some. Absent: reading has none there. */
  storeUrl?: string;
  /** What waiting does not mend: the process is to end, and be started again. Default: an uncaught exception. */
  leave?: (error: unknown) => void;
}
