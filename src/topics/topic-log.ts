/**
 * The contract of the topics: an append-only log per topic, split by key into shards (partitions), read by consumer
 * groups. Adapters: redis-topic-log.ts and kafka-topic-log.ts; both pass the conformance suite (test/conformance/).
 *
 * Guarantees that every adapter gives:
 * - what `publish` resolved for is read by every consumer group at least once, also after kill -9 of any process;
 * - messages of one key are handed to a group in the order of their appending, one batch of a shard at a time: the next
 *   batch with messages of that shard comes only after the one before was acknowledged or given back;
 * - each shard has one owner in a group; an owner that was taken over (stalled, partitioned) cannot acknowledge any
 *   more: its `acknowledge` rejects with OWNERSHIP_LOST, and what it had not acknowledged goes to the new owner;
 * - a message whose processing ends the process again and again goes to `<topic>.dlq` after five strikes (POISON):
 *   from the second delivery on messages come one at a time, marked before they are handed out.
 */
import type { VigilaneError } from "../errors.ts";
import type { TopicTrouble } from "../events.ts";
import type { Service } from "../lifecycle.ts";

/** The topics by their design names; the names on the wire are settings. */
export const TOPICS = {
  detections: "detection-results",
  tasks: "assessment-tasks",
  results: "risk-assessment-results",
  /** Results of retries by hand, where older consumers read the results topic and must not see them. */
  revisions: "risk-assessment-revisions",
} as const;

/** Dead letters of `topic`: one shard. */
export const deadLetterTopic = (topic: string) => `${topic}.dlq`;

/**
 * Headers that a dead letter carries beside the original ones: where it stood and why it is here. (A dead letter of a
 * dead letter tells its last place.)
 */
export const DEAD_LETTER_HEADERS = {
  topic: "dead-letter-topic",
  shard: "dead-letter-shard",
  position: "dead-letter-position",
  code: "dead-letter-code",
  message: "dead-letter-message",
} as const;

/**
 * A message as another program wrote it to Kafka, where `key`, `value` and `headers` do not tell all of it. They tell of it what
 * text can: U+FFFD for bytes that are no UTF-8, "" for no key, no bytes for no value, the last of equal headers.
 */
export interface ForeignRecord {
  /** null: it has none. */
  key: Buffer | null;
  /** null: it has none (a tombstone). */
  value: Buffer | null;
  /** Those of equal names are all here, in their order; one without a value has no bytes. */
  headers: readonly (readonly [name: string, value: Buffer])[];
}

export interface OutgoingMessage {
  /** Camera id as text. Messages of one key keep their order. */
  key: string;
  value: Buffer;
  headers?: Record<string, string>;
  /** Published in the place of key, value and headers. On Kafka alone: the store's topics hold text keys and headers only. */
  foreign?: ForeignRecord;
}

export interface TopicMessage {
  topic: string;
  shard: number;
  /** Place in its shard, comparable as text of equal topic and shard only with `comparePositions`. */
  position: string;
  key: string;
  value: Buffer;
  headers: Record<string, string>;
  /** Absent: the fields above tell all of it, as they do of each message of ours. Dead letters and copies carry it on. */
  foreign?: ForeignRecord;
  /** When the log took it, ms since the epoch, on the log's clock. */
  appendedAtMs: number;
  /** 1: first time. Above 1: an earlier delivery was never acknowledged. */
  deliveries: number;
}

/** Messages of one shard, in order. Every batch must end in exactly one of `acknowledge` or `giveBack`. */
export interface Batch {
  readonly shard: number;
  readonly messages: readonly TopicMessage[];
  /** Everything in the batch is done for; rejects with OWNERSHIP_LOST when another consumer has the shard by now. */
  acknowledge(): Promise<void>;
  /** Nothing was done: the same messages come again after `afterMs`. */
  giveBack(afterMs?: number): Promise<void>;
  /** Puts one message of the batch on `<topic>.dlq` with its original key, bytes and headers (`foreign` too), its place and the reason. It is then acknowledged with the rest. */
  deadLetter(message: TopicMessage, reason: { code: string; message: string }): Promise<void>;
}

export interface Subscription {
  /**
   * Batches as they come; several shards' batches may be out at once (up to one a shard). Ends when closed. A broken
   * connection is not an error here: the iteration waits and goes on.
   */
  batches(): AsyncIterable<Batch>;
  /** No new batches until `resume`; what is out may still be acknowledged. Ownership is kept. */
  pause(): void;
  resume(): void;
  /** Gives up ownership at once, so that another consumer takes over without waiting. Idempotent. */
  close(): Promise<void>;
}

export interface SubscribeOptions {
  group: string;
  /** Unique among the living consumers of the group, stable over restarts where possible. */
  consumer: string;
  /** Most messages in one batch. Default 200. */
  maxMessages?: number;
  /** Where a group that is new begins. Default "earliest". */
  from?: "earliest" | "latest";
  /** Asked from the process that dies for POISON: what to do with the message besides the dead letter (its outcomes). */
  onPoison?: (message: TopicMessage) => Promise<void>;
}

export interface Lag {
  /** Messages appended but not acknowledged by the group. */
  messages: number;
  /** Age of the oldest of them, ms; 0 when there is none. */
  oldestAgeMs: number;
  /** Messages trimmed away before this group read them. */
  lost: number;
}

export interface TopicLog extends Service {
  /**
   * Creates what is missing; never shrinks. Idempotent. What fails is tried again for as long as it takes, and `failed` is told
   * of each failure (a log in the store only waits).
   */
  ensureTopic(topic: string, failed?: (why: VigilaneError) => void): Promise<void>;
  /** Resolves when every message is as durable as the log makes them. All or nothing is not promised. */
  publish(topic: string, messages: readonly OutgoingMessage[]): Promise<void>;
  /**
   * What keeps us from the brokers at present, also while `start` waits for them; null: nothing that we know of. Found out
   * within seconds of the first failure, and gone within seconds of their return. Also a topic that has taken nothing for 5 s,
   * of brokers that answer: until it takes something, or nobody has tried for a minute. Of topics in the store always null: the
   * store's own absence is everybody's.
   */
  trouble(): TopicTrouble | null;
  /** Messages that this log published again by itself, since what keeps the log had acknowledged and then forgotten them. */
  publishedAgain(): number;
  subscribe(topic: string, options: SubscribeOptions): Subscription;
  lag(topic: string, group: string): Promise<Lag>;
  /** Reads from a place without any group, for audits and tools: `start` from `ends()` or "earliest". Ends when `signal` aborts. */
  tail(topic: string, start: Places | "earliest", signal: AbortSignal): AsyncIterable<TopicMessage>;
  /** The present end of each shard: what is appended after this call comes after these places. */
  ends(topic: string): Promise<Places>;
}

/** What a dead letter carries beside the headers of `message`. */
export const deadLetterHeaders = (
  { topic, shard, position }: TopicMessage,
  { code, message }: { code: string; message: string },
): Record<string, string> => ({
  [DEAD_LETTER_HEADERS.topic]: topic,
  [DEAD_LETTER_HEADERS.shard]: String(shard),
  [DEAD_LETTER_HEADERS.position]: position,
  [DEAD_LETTER_HEADERS.code]: code,
  [DEAD_LETTER_HEADERS.message]: message,
});

/** One position a shard, by shard number. */
export type Places = readonly string[];

/** Below 0: `a` comes before `b`; 0: the same place. Only for positions of one shard of one topic. */
export function comparePositions(a: string, b: string): number {
  const left = numbersOf(a);
  const right = numbersOf(b);
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = (left[i] ?? 0n) - (right[i] ?? 0n);
    if (difference !== 0n) return difference < 0n ? -1 : 1;
  }
  return 0;
}

/** "1700-5" has two numbers; "-1" (before the first message of all) has one. */
const numbersOf = (position: string) => position.split(/(?<=\d)-/).map(BigInt);
