/**
 * The topics on Kafka or Redpanda: publish, subscribe, lag, tail, put together. docs/topics.md tells how it works and what
 * survives what. kafkajs itself is reached through kafka-client.ts.
 */
import type { Context } from "../context.ts";
import { errorCode, VigilaneError } from "../errors.ts";
import { abortOf, service, within } from "../lifecycle.ts";
import { refusalOf } from "./ask-kafka.ts";
import { keyOf } from "./foreign-record.ts";
import {
  type Admin,
  createKafka,
  isRefusal,
  type Kafka,
  KafkaCluster,
  kafkaErrorType,
  wordsOf,
} from "./kafka-client.ts";
import { endsOnKafka } from "./kafka-ends.ts";
import { lagOnKafka } from "./kafka-lag.ts";
import { clientIdOf, groupIdOf } from "./kafka-membership.ts";
import { probeKafka } from "./kafka-probe.ts";
import { KafkaPublisher } from "./kafka-publisher.ts";
import { KafkaSubscription } from "./kafka-subscription.ts";
import { shardsOf, tailKafkaTopic } from "./kafka-tail.ts";
import type { KafkaTopicSettings } from "./kafka-topic-settings.ts";
import { ensureKafkaTopic, isDeadLetterTopic } from "./kafka-topics.ts";
import { KafkaTrouble } from "./kafka-trouble.ts";
import { keyToShard, keyToShardByCrc32 } from "./key-to-shard.ts";
import { ReadPlaces } from "./read-places.ts";
import {
  deadLetterTopic,
  type OutgoingMessage,
  type Places,
  type SubscribeOptions,
  type TopicLog,
} from "./topic-log.ts";

/** Partitions are counted again after so long: a topic may grow while we run. */
const COUNTED_MS = 10_000;
/** While subscriptions are closed, what waits may still be published; then the clients are disconnected. */
const PUBLISH_MS = 700;
const DISCONNECT_MS = 400;
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1_000;

/** What a start acquires. */
interface Started {
  kafka: Kafka;
  admin: Admin;
  publisher: KafkaPublisher;
  trouble: KafkaTrouble;
  signal: AbortSignal;
  /** Partitions by topic, and when they were counted. */
  partitions: Map<string, { count: number; atMs: number }>;
  /** For questions about a topic. */
  asked: Map<string, { cluster: KafkaCluster; turn: Promise<unknown> }>;
  subscriptions: Set<KafkaSubscription>;
  places: ReadPlaces | undefined;
}

export function createKafkaTopicLog(settings: KafkaTopicSettings, context: Context): TopicLog {
  const { clock, log } = context;
  const { leave = leaveProcess, compression = "none" } = settings;
  const byKey = settings.partitioner === "crc32" ? keyToShardByCrc32 : keyToShard;
  let started: Started | undefined;
  /** There before anything else is: a start may wait for the brokers. */
  let noticed: KafkaTrouble | undefined;
  const gently = (what: string, ms: number, end: () => Promise<unknown>) =>
    within(clock, ms, what, end).catch(() => {});
  const live = (): Started => {
    if (started === undefined) throw new VigilaneError("STOPPED", "the topics are not started");
    return started;
  };

  const base = service("topics on Kafka", context, async (acquired, signal) => {
    const { kafka, hangUp } = createKafka(settings, "vigilane", context);
    const trouble = acquired.add(new KafkaTrouble(settings, context, signal), "trouble", () => {
      noticed = undefined;
    });
    noticed = trouble;
    const admin = kafka.admin();
    acquired.add(kafka, "connections", hangUp);
    const connected = untilDone({ trouble, signal }, "connecting to Kafka", async () => {
      await probeKafka(settings, clock);
      await admin.connect().catch((error: unknown) => {
        throw refusalOf(error, settings) ?? error;
      });
    });
    await Promise.race([trouble.watch(connected), abortOf(signal)]);
    signal.throwIfAborted();
    const parts = { kafka, signal, compression, prepare, trouble };
    const publisher = new KafkaPublisher(parts, context);
    const subscriptions = new Set<KafkaSubscription>();
    const places = settings.storeUrl
      ? acquired.add(
          new ReadPlaces(settings.storeUrl, context, signal, () => {
            for (const subscription of subscriptions) subscription.storeForgot();
          }),
          "places in the store",
          (p) => p.close(),
        )
      : undefined;
    const at: Started = {
      ...{ kafka, admin, publisher, trouble, signal, subscriptions, places },
      ...{ partitions: new Map(), asked: new Map() },
    };
    acquired.add(at, "clients", () => {
      // kafkajs waits for answers before it disconnects: from brokers that are away none will come.
      if (trouble.away()) hangUp();
      const clusters = [...at.asked.values()].map(({ cluster }) => cluster.close());
      return gently("the clients", DISCONNECT_MS, () =>
        Promise.all([...clusters, publisher.close(), admin.disconnect()]),
      );
    });
    acquired.add(at, "subscriptions", async () => {
      started = undefined;
      const published = gently("publishing what waits", PUBLISH_MS, () => publisher.idle());
      await Promise.all([...at.subscriptions].map((subscription) => subscription.close()));
      if (!trouble.away()) await published;
    });
    started = at;
  });

  /** Again and again until it succeeds, is refused, or `signal` aborts. `failed`: told of each failure before the next try. */
  async function untilDone<T>(
    { trouble, signal }: Pick<Started, "trouble" | "signal">,
    what: string,
    work: () => Promise<T>,
    failed?: (why: VigilaneError) => void,
  ): Promise<T> {
    for (let failures = 1; ; failures += 1) {
      try {
        return await trouble.watch(work());
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof TypeError || errorCode(error) === "STOPPED") throw error;
        if (error instanceof VigilaneError && error.retry === "never") throw error;
        const cause = wordsOf(error);
        if (isRefusal(error)) throw new VigilaneError("BROKER_REFUSED", `${what}: ${cause}`, { cause: error });
        log.debug({ what, failures, cause }, "Kafka failed, will be asked again");
        if (failures > 1) trouble.noticed();
        const code = kafkaErrorType(error) === undefined ? "BROKER_AWAY" : "BROKER_REFUSED";
        failed?.(new VigilaneError(code, `${what}: ${cause}`, { cause: error }));
        const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures, 10));
        await clock.sleep(backoffMs, signal).catch(() => {});
      }
    }
  }

  async function prepare(topic: string, failed?: (why: VigilaneError) => void): Promise<number> {
    const at = live();
    if (!/^[A-Za-z0-9._-]{1,200}$/.test(topic)) throw new TypeError(`${topic} is no name of a topic`);
    const ensured = () => ensureKafkaTopic(at.admin, topic, settings);
    const count = await untilDone(at, `looking for ${topic}`, ensured, failed);
    at.partitions.set(topic, { count, atMs: clock.monotonicMs() });
    return count;
  }

  async function partitionsOf(at: Started, topic: string): Promise<number> {
    const known = at.partitions.get(topic);
    if (known === undefined) return prepare(topic);
    if (clock.monotonicMs() - known.atMs > COUNTED_MS && !isDeadLetterTopic(topic)) {
      known.atMs = clock.monotonicMs();
      prepare(topic).catch((err: unknown) => log.debug({ err, topic }, "partitions could not be counted"));
    }
    return known.count;
  }

  /** Runs `ask` on the topic's cluster, again for as long as the brokers are away. */
  async function ask<T>(topic: string, what: string, question: (cluster: KafkaCluster) => Promise<T>): Promise<T> {
    const at = live();
    await partitionsOf(at, topic);
    const asked = at.asked.get(topic) ?? { cluster: new KafkaCluster(at.kafka, topic), turn: Promise.resolve() };
    at.asked.set(topic, asked);
    const { cluster } = asked;
    let failed: unknown;
    // One question after the other: kafkajs opens a connection for each of several requests that find none.
    const answer = asked.turn.then(() =>
      untilDone(at, what, async () => {
        if (failed === undefined) await cluster.connect();
        else await cluster.recover(failed);
        try {
          return await question(cluster);
        } catch (error) {
          failed = error;
          throw error;
        }
      }),
    );
    asked.turn = answer.catch(() => {});
    return answer;
  }

  async function bury(topic: string, letter: OutgoingMessage): Promise<void> {
    const dead = deadLetterTopic(topic);
    const at = live();
    await partitionsOf(at, dead);
    await at.publisher.publish(dead, [[0, letter]]);
  }

  return {
    ...base,

    async ensureTopic(topic, failed) {
      await prepare(topic, failed);
    },

    async publish(topic, messages) {
      const at = live();
      const partitions = await partitionsOf(at, topic);
      await at.publisher.publish(
        topic,
        messages.map((message) => [byKey(keyOf(message), partitions), message] as const),
      );
    },

    subscribe(topic: string, options: SubscribeOptions) {
      const at = live();
      const { group, consumer, from = "earliest" } = options;
      const { kafka, hangUp } = createKafka(settings, clientIdOf(consumer), context);
      const parts = {
        ...{
          topic,
          group,
          consumer,
          from,
          options,
          leave,
          hangUp,
          sessionMs: settings.leaseMs ?? 6_000,
          places: at.places,
        },
        cluster: new KafkaCluster(kafka, topic),
        prepare: () => partitionsOf(at, topic),
        bury: (letter: OutgoingMessage) => bury(topic, letter),
        trouble: at.trouble,
      };
      const subscription = new KafkaSubscription(parts, context, () => at.subscriptions.delete(subscription));
      at.subscriptions.add(subscription);
      return subscription;
    },

    trouble: () => noticed?.now() ?? null,

    // Kafka's brokers do not forget what they have acknowledged.
    publishedAgain: () => 0,

    lag: (topic, group) =>
      ask(topic, "the lag", (cluster) => lagOnKafka(cluster, topic, groupIdOf(topic, group), clock)),

    async *tail(topic, start, signal) {
      const at = live();
      const either = AbortSignal.any([signal, at.signal]);
      const from = await ask(topic, "the first places", async (cluster) => cluster.offsets(shardsOf(cluster), "first"));
      const cluster = new KafkaCluster(at.kafka, topic);
      try {
        const places = start === "earliest" ? [] : start;
        for (const [shard, place] of places.entries()) from.set(shard, BigInt(place) + 1n);
        await untilDone({ ...at, signal: either }, "connecting to Kafka", () => cluster.connect()).catch(() => {});
        yield* tailKafkaTopic(topic, cluster, from, either, context);
      } finally {
        await cluster.close();
      }
    },

    ends: (topic): Promise<Places> =>
      ask(topic, "the ends", async (cluster) => (await endsOnKafka(cluster, topic)).map(String)),
  };
}

/** A role's process ends on what nobody catches, and its supervisor starts it again. */
function leaveProcess(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
