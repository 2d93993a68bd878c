/**
 * The contract of what people's tools ask and change of the topics, beside the log itself: which there are, how they are
 * kept, where their groups stand. Adapters: redis-topic-tools.ts and kafka-topic-tools.ts; both pass the conformance suite.
 * All names are those on the wire. Unlike the log's, a start waits only seconds for a store or a broker that is away and
 * rejects (STORE_AWAY, BROKER_AWAY), since somebody sits before it. What does not exist: TOPIC_UNKNOWN.
 */
import type { Service } from "../lifecycle.ts";
import type { Lag, Places } from "./topic-log.ts";

/** How a topic is to be. */
export interface TopicWish {
  topic: string;
  shards: number;
  /** Copies of each shard; fewer where there are fewer brokers. */
  copies: number;
  retentionMs: number;
  /** Bytes that the topic may take, over all of its shards. */
  maxBytes: number;
  /** Of one batch of messages, as it is sent. */
  maxMessageBytes: number;
  /** Further settings of a Kafka topic, by Kafka's names. */
  kafka: Readonly<Record<string, string>>;
}

/** How a topic is. */
export interface TopicFacts {
  topic: string;
  shards: number;
  /** Of the shard that has the fewest. */
  copies: number;
  /** Kept now. Kafka counts the ends of transactions, and what was compacted away, with them. */
  messages: number;
  /** Bytes in the store; null: not told cheaply. */
  bytes: number | null;
  /** Settings that the topic has itself, by Kafka's names; null: it has none (the store keeps it as vigilane's settings say). */
  config: Readonly<Record<string, string>> | null;
  /** Names of all settings that the broker tells of the topic, its own and the broker's. Null as config. */
  known: readonly string[] | null;
}

export interface GroupFacts {
  group: string;
  /** Names of those that consume now. */
  consumers: readonly string[];
  lag: Lag;
  /** Up to where the group has worked, by shard: what comes after is unread. */
  places: Places;
}

export interface TopicTools extends Service {
  /** How many brokers there are to keep copies; a store: 1. */
  brokers(): Promise<number>;
  /** Names of all topics that exist, sorted; a broker's internal ones left out. */
  topics(): Promise<string[]>;
  /** Null: there is none of that name. */
  describe(topic: string): Promise<TopicFacts | null>;
  /** The settings that a topic of so many shards has when it is kept as wished, as in TopicFacts. */
  configOf(wish: TopicWish, shards: number, copies: number): Readonly<Record<string, string>> | null;
  /** Creates it; one that is there already stays as it is. */
  create(wish: TopicWish): Promise<void>;
  /** To at least so many shards, also while it is written and read; never fewer. Keys move: their order holds from then on. */
  grow(topic: string, shards: number): Promise<void>;
  /** Sets these settings and leaves the topic's other ones. */
  configure(topic: string, config: Readonly<Record<string, string>>): Promise<void>;
  /** The groups that have read the topic, sorted by name. */
  groups(topic: string): Promise<GroupFacts[]>;
  /** The places before the first message that was appended at `at` (ms since the epoch) or later, before the first of all, or the end. */
  placesAt(topic: string, at: number | "earliest" | "latest"): Promise<Places>;
  /**
   * Lets a group go on from these places. Rejects with GROUP_CONSUMING while it has consumers, unless `force`: then what
   * they have out is taken from them (their acknowledgements reject with OWNERSHIP_LOST) and they go on from there.
   */
  move(topic: string, group: string, places: Places, options?: { force?: boolean }): Promise<void>;
  /** Deletes all messages up to these places, inclusive, for good. */
  deleteUpTo(topic: string, places: Places): Promise<void>;
}
