/**
 * kafkajs, reached through this file alone: connections to the brokers, and what its errors mean.
 *
 * Of kafkajs we use the producer, the admin client and the *cluster* (its pool of brokers), which it hands to a consumer's
 * partition assigner. Its own consumer is not run: it stays on a dead leader's partitions, and its commits cannot be
 * fenced (docs/decisions/013-kafkajs.md). The group's protocol is ours (kafka-membership.ts), by the same brokers.
 */
import { createRequire } from "node:module";
import kafkajs, {
  type Admin,
  type Assigner,
  type Broker,
  type Cluster,
  type Kafka,
  type KafkaConfig,
  type LogEntry,
  type Producer,
  type SASLOptions,
} from "kafkajs";
import type { Context } from "../context.ts";
import { CODECS } from "./kafka-codecs.ts";
import type { KafkaConnection } from "./kafka-connection.ts";
import { kafkaSockets, type SocketOrder } from "./kafka-sockets.ts";
import { type ConnectionClass, mendHalfAnswers, mendTimers, type RequestQueueClass } from "./kafkajs-mends.ts";

// A CommonJS package: Node sees only some of its exports by name.
const { CompressionCodecs, CompressionTypes, logLevel } = kafkajs;
export const { AssignerProtocol } = kafkajs;

const ofKafkajs = createRequire(import.meta.url);
mendTimers(ofKafkajs("kafkajs/src/network/requestQueue") as RequestQueueClass);
mendHalfAnswers(ofKafkajs("kafkajs/src/network/connection") as ConnectionClass);

CompressionCodecs[CompressionTypes.Snappy] = () => CODECS.snappy;
CompressionCodecs[CompressionTypes.LZ4] = () => CODECS.lz4;
CompressionCodecs[CompressionTypes.ZSTD] = () => CODECS.zstd;

/** By the names that the setting has. */
export const COMPRESSIONS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
} as const;
export type Compression = keyof typeof COMPRESSIONS;

/** What kafkajs' admin client calls a topic where settings are asked and changed, and settings that a topic has itself. */
export const TOPIC_RESOURCE: number = kafkajs.ConfigResourceTypes.TOPIC;
export const OWN_SETTING: number = kafkajs.ConfigSource.TOPIC_CONFIG;

export type { Admin, Kafka, Producer };

/** The requests of a broker that kafkajs has and its types leave out. Offsets are decimal text. */
export interface KafkaBroker extends Pick<Broker, "fetch" | "isConnected"> {
  joinGroup(request: {
    groupId: string;
    sessionTimeout: number;
    rebalanceTimeout: number;
    memberId: string;
    groupProtocols: { name: string; metadata: Buffer }[];
  }): Promise<{
    generationId: number;
    leaderId: string;
    memberId: string;
    /** Of all members; empty for all but the leader. */
    members: { memberId: string; memberMetadata: Buffer }[];
  }>;
  syncGroup(request: {
    groupId: string;
    generationId: number;
    memberId: string;
    groupAssignment: { memberId: string; memberAssignment: Buffer }[];
  }): Promise<{ memberAssignment: Buffer }>;
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>;
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>;
  describeGroups(request: { groupIds: string[] }): Promise<{
    groups: { members: { memberId: string; clientId: string }[] }[];
  }>;
  offsetFetch(request: { groupId: string; topics: PartitionsOf<{ partition: number }>[] }): Promise<{
    responses: PartitionsOf<{ partition: number; offset: string; metadata: string | null }>[];
  }>;
  offsetCommit(request: {
    groupId: string;
    groupGenerationId: number;
    memberId: string;
    topics: PartitionsOf<{ partition: number; offset: string; metadata: string }>[];
  }): Promise<unknown>;
}

interface PartitionsOf<T> {
  topic: string;
  partitions: T[];
}

const REQUEST_MS = 10_000;

/** kafkajs' client, and the end of all its connections at once, for those that do not end by themselves. */
export interface KafkaClient {
  kafka: Kafka;
  hangUp(): void;
}

/** `clientId`: what the brokers' logs and group descriptions call this connection. */
export function createKafka(
  { brokers, tls, sasl }: KafkaConnection,
  clientId: string,
  { log, clock }: Context,
): KafkaClient {
  const sockets = kafkaSockets(clock);
  const config: KafkaConfig = {
    ...{ clientId, brokers: [...brokers], connectionTimeout: 3_000, requestTimeout: REQUEST_MS },
    ...(tls && { ssl: tls }),
    ...(sasl && { sasl: saslOptions(sasl) }),
    socketFactory: (order) => sockets.socketFactory(order as SocketOrder),
    // Short: whoever calls tries again by itself, for as long as needed, and looks at what has changed in between.
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 3 },
    logLevel: logLevel.WARN,
    logCreator:
      () =>
      ({ namespace, log: { message, ...more } }: LogEntry) =>
        log.debug({ namespace, ...more, stack: undefined, timestamp: undefined }, `kafkajs: ${message}`),
  };
  return { kafka: new kafkajs.Kafka(config), hangUp: () => sockets.hangUp() };
}

function saslOptions({ mechanism, ...login }: NonNullable<KafkaConnection["sasl"]>): SASLOptions {
  switch (mechanism) {
    case "PLAIN":
      return { mechanism: "plain", ...login };
    case "SCRAM-SHA-256":
      return { mechanism: "scram-sha-256", ...login };
    case "SCRAM-SHA-512":
      return { mechanism: "scram-sha-512", ...login };
    default:
      return mechanism satisfies never;
  }
}

/** The pool of brokers for one reader, or for questions. Everything rejects with kafkajs' errors; see `recover`. */
export class KafkaCluster {
  readonly #cluster: Cluster;
  readonly #disconnect: () => Promise<void>;
  readonly #topic: string;
  #closed = false;

  /** `topic`: the one whose leaders it knows. */
  constructor(kafka: Kafka, topic: string) {
    let captured: Cluster | undefined;
    const assigner = ({ cluster }: { cluster: Cluster }): Assigner => {
      captured = cluster;
      return {
        name: "none",
        version: 0,
        assign: async () => [],
        protocol: () => ({ name: "none", metadata: Buffer.of() }),
      };
    };
    const consumer = kafka.consumer({ groupId: "none", partitionAssigners: [assigner] });
    if (captured === undefined) throw new Error("kafkajs has changed: it hands no cluster to an assigner");
    this.#cluster = captured;
    this.#disconnect = () => consumer.disconnect();
    this.#topic = topic;
  }

  /** Idempotent; also after the brokers were away. */
  async connect(): Promise<void> {
    await this.#cluster.connect();
    await this.#cluster.addTargetTopic(this.#topic);
    if (this.#closed) await this.#disconnect();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#disconnect().catch(() => {});
  }

  /** Number of the topic's partitions, as last heard. */
  partitions(): number {
    return this.#cluster.findTopicPartitionMetadata(this.#topic).length;
  }

  /** Leader's node id → partitions, as last heard. */
  leaders(partitions: readonly number[]): Map<string, number[]> {
    return new Map(Object.entries(this.#cluster.findLeaderForPartitions(this.#topic, [...partitions])));
  }

  refresh(): Promise<void> {
    return this.#cluster.refreshMetadata();
  }

  async broker(nodeId: string): Promise<KafkaBroker> {
    return (await this.#cluster.findBroker({ nodeId })) as unknown as KafkaBroker;
  }

  async coordinator(groupId: string): Promise<KafkaBroker> {
    return (await this.#cluster.findGroupCoordinator({ groupId })) as unknown as KafkaBroker;
  }

  /**
   * The first offset of each partition; or the one that the next message (of a finished transaction) gets; or that of the
   * first message of this time or later, −1 where there is none.
   */
  async offsets(
    partitions: readonly number[],
    which: "first" | "next" | { atMs: number },
  ): Promise<Map<number, bigint>> {
    if (partitions.length === 0) return new Map();
    const asked = partitions.map((partition) => ({ partition }));
    const answer = await this.#cluster.fetchTopicsOffset([
      typeof which === "string"
        ? { topic: this.#topic, partitions: asked, fromBeginning: which === "first" }
        : { topic: this.#topic, partitions: asked, fromTimestamp: Math.round(which.atMs) },
    ]);
    const rows = answer.flatMap((topic) => topic.partitions.map((p) => [p.partition, BigInt(p.offset)] as const));
    return new Map(rows);
  }

  /** After a failed call: forgets the connection that broke, and asks who leads now. Rejects while no broker can be reached. */
  async recover(error: unknown): Promise<void> {
    if (this.#closed) return;
    const address = addressOf(error);
    if (address) this.#cluster.removeBroker(address);
    if (!this.#cluster.isConnected()) await this.#cluster.connect();
    await this.#cluster.refreshMetadata();
  }
}

/** Kafka's name of the error at the bottom, such as UNKNOWN_MEMBER_ID; undefined: it came from no broker. */
export function kafkaErrorType(error: unknown): string | undefined {
  const { type } = (rootOf(error) ?? {}) as { type?: unknown };
  return typeof type === "string" ? type : undefined;
}

/** Kafka or the way to it failed, not the store or we. */
export function isOfKafka(error: unknown): boolean {
  const root = rootOf(error);
  return root instanceof Error && root.name.startsWith("KafkaJS");
}

/** Kafka's own word for it: the same question may be answered soon, such as while a new topic's leaders are chosen. */
export function isPassing(error: unknown): boolean {
  const { type, retriable } = (rootOf(error) ?? {}) as { type?: unknown; retriable?: unknown };
  return typeof type === "string" && retriable === true;
}

/** The broker that a connection's error is about. */
function addressOf(error: unknown): { host: string; port: number } | undefined {
  const { broker } = (rootOf(error) ?? {}) as { broker?: unknown };
  const [, host, port] = (typeof broker === "string" && /^(.*):(\d+)$/.exec(broker)) || [];
  return host !== undefined ? { host, port: Number(port) } : undefined;
}

function rootOf(error: unknown): unknown {
  let root = error;
  for (let depth = 0; depth < 10 && root instanceof Error && root.cause instanceof Error; depth += 1) root = root.cause;
  return root;
}

/** What no waiting cures: rights, settings and versions. */
const REFUSALS = [
  ...["TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"],
  ...["TRANSACTIONAL_ID_AUTHORIZATION_FAILED"],
  ...["INVALID_SESSION_TIMEOUT", "INVALID_GROUP_ID", "INCONSISTENT_GROUP_PROTOCOL", "UNSUPPORTED_VERSION"],
  ...["INVALID_TOPIC_EXCEPTION", "POLICY_VIOLATION", "OFFSET_METADATA_TOO_LARGE", "INVALID_REQUIRED_ACKS"],
  "INVALID_RECORD", // one without a key, on a compacted topic
];

/** The broker said no, and will say so again. */
export function isRefusal(error: unknown): boolean {
  const root = rootOf(error);
  if (root instanceof Error && root.name === "KafkaJSNotImplemented") return true;
  return REFUSALS.includes(kafkaErrorType(error) ?? "");
}

/** User or password are not the broker's. Unlike a refusal it is waited for while running: passwords are changed in use. */
export function isLoginFailure(error: unknown): boolean {
  const root = rootOf(error);
  if (root instanceof Error && root.name === "KafkaJSSASLAuthenticationError") return true;
  return ["SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"].includes(kafkaErrorType(error) ?? "");
}

/** What the error at the bottom says. */
export function wordsOf(error: unknown): string {
  const root = rootOf(error);
  return root instanceof Error ? root.message : String(error);
}
