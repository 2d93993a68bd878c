/**
 * Exactly-once write-back where the outbox and the topics lie in one Redis: an outcome leaves the outbox and enters the
 * results topic in one Lua call, so that neither a crash in between nor a second writer can double or lose it.
 *
 * Not for Redis Cluster: outbox and topic lie in different slots. There, and on Kafka, write-back takes another way.
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Clock } from "../context.ts";
import type { TopicTrouble } from "../events.ts";
import { keyToShard } from "./key-to-shard.ts";
import { messageToArguments } from "./redis-entries.ts";
import { scripts } from "./redis-scripts.ts";
import { isDeadLetterTopic, metaKey, topicKey } from "./redis-topic-keys.ts";
import type { OutgoingMessage } from "./topic-log.ts";

export interface OutboxEntry {
  /** Id of the entry in the outbox stream. */
  outboxId: string;
  message: OutgoingMessage;
}

export interface OutboxTransfer {
  /**
   * Appends each message whose outbox entry is still there to `topic`, and deletes the entry; entries that are gone were
   * transferred before and are passed over. Safe to repeat, and safe with several writers. Resolves with how many moved.
   */
  transfer(topic: string, entries: readonly OutboxEntry[]): Promise<number>;
}

/** A transfer that may have connections of its own. */
export interface OpenOutboxTransfer extends OutboxTransfer {
  /** As the topics' own: what keeps this transfer from them. Null where it is the topics that publish. */
  trouble(): TopicTrouble | null;
  close(): Promise<void>;
}

export interface OutboxTransferSettings {
  /** The outbox stream, such as "{vl}:outbox". */
  outboxKey: string;
  /** As the topics' own. Default "vl:topic:". */
  topicPrefix?: string;
  /** Shards of a topic that does not exist yet. Default 16. */
  shards?: number;
}

/** A topic's shards are asked for again after so long: they grow now and then, and a store may be emptied by hand. */
const SHARDS_KNOWN_MS = 1_000;

/** `redis`: a connection of connectStore, which the caller keeps and ends. */
export function createRedisOutboxTransfer(
  redis: Redis,
  settings: OutboxTransferSettings,
  { monotonicMs }: Pick<Clock, "monotonicMs">,
): OutboxTransfer {
  const { outboxKey, topicPrefix = "vl:topic:" } = settings;
  const known = new Map<string, { shards: number; atMs: number }>();

  async function shardsOf(topic: string): Promise<number> {
    const last = known.get(topic);
    if (last && monotonicMs() - last.atMs < SHARDS_KNOWN_MS) return last.shards;
    const meta = metaKey(topicKey(topicPrefix, topic));
    const wanted = isDeadLetterTopic(topic) ? 1 : (settings.shards ?? 16);
    const [, shards] = await Promise.all([redis.hsetnx(meta, "shards", wanted), redis.hget(meta, "shards")]);
    known.set(topic, { shards: Number(shards), atMs: monotonicMs() });
    return Number(shards);
  }

  return {
    async transfer(topic, entries) {
      if (entries.length === 0) return 0;
      const key = topicKey(topicPrefix, topic);
      const shards = await shardsOf(topic);
      const args = entries.flatMap(({ outboxId, message }) => [
        outboxId,
        ...messageToArguments(message, keyToShard(message.key, shards)),
      ]);
      return z.number().parse(await scripts.outboxTransfer.run(redis, [outboxKey, key], args));
    },
  };
}
