/**
 * The topics on Redis Streams: publish, subscribe, lag, trimming, put together. docs/topics.md tells how it works and
 * what survives what; redis-topic.lua holds the layout. Not for Redis Cluster (a topic's keys lie in several slots).
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { type Acquired, loop, service, within } from "../lifecycle.ts";
import { connectStore } from "../store.ts";
import { followRun, type StoreRun } from "../store-run.ts";
import { RedisPublisher } from "./redis-publisher.ts";
import { scripts } from "./redis-scripts.ts";
import { RedisSubscription } from "./redis-subscription.ts";
import { endsOf, tailRedisTopic } from "./redis-tail.ts";
import { groupKey, isDeadLetterTopic, metaKey, type RedisTopicSettings, topicKey } from "./redis-topic-keys.ts";
import { deadLetterTopic, type Places, type SubscribeOptions, type TopicLog } from "./topic-log.ts";

const TRIM_EVERY_MS = 2_000;
/** Shards are counted again after so long: a topic may grow while we run. */
const COUNTED_MS = 10_000;
/** Dead letters are few and kept long: looked after once in so many rounds. */
const DEAD_LETTER_ROUNDS = 15;
/** A connection that owes an answer for so long is dead, however open it looks; what it owed is sent again on a new one. */
const SILENT_MS = 15_000;
const DEAD_LETTERS_MS = 7 * 24 * 3_600_000;

const Three = z.tuple([z.number(), z.number(), z.number()]);

/** What a start acquires. */
interface Started {
  commands: Redis;
  publisher: RedisPublisher;
  signal: AbortSignal;
  /** Shards by topic, of the topics that this process has to do with, and when they were counted. */
  shards: Map<string, { count: number; atMs: number }>;
  subscriptions: Set<RedisSubscription>;
  /** Batches are bound to it: what a batch's processing wrote may be gone with another run, and so must its acknowledgement not count. */
  storeRun: StoreRun;
}

export function createRedisTopicLog(settings: RedisTopicSettings, context: Context): TopicLog {
  const { prefix = "vl:topic:", leaseMs = 3_000 } = settings;
  const { clock } = context;
  let started: Started | undefined;
  let publishedBefore = 0;
  const live = (): Started => {
    if (started === undefined) throw new VigilaneError("STOPPED", "the topics are not started");
    return started;
  };

  async function shardsOf(at: Started, topic: string): Promise<number> {
    return at.shards.get(topic)?.count ?? count(at, topic);
  }

  /** Without waiting, so that messages keep the order of the calls; and counted anew now and then. */
  function knownShards(at: Started, topic: string): number | undefined {
    const known = at.shards.get(topic);
    if (known !== undefined && clock.monotonicMs() - known.atMs > COUNTED_MS) {
      known.atMs = clock.monotonicMs();
      count(at, topic).catch((err: unknown) => context.log.debug({ err, topic }, "shards could not be counted"));
    }
    return known?.count;
  }

  async function count(at: Started, topic: string): Promise<number> {
    const meta = metaKey(topicKey(prefix, topic));
    const wanted = isDeadLetterTopic(topic) ? 1 : (settings.shards ?? 16);
    // Never shrinks; growing moves keys to other shards, so that their order is kept only from then on.
    if (Number((await at.commands.hget(meta, "shards")) ?? 0) < wanted) await at.commands.hset(meta, "shards", wanted);
    const shards = Number(await at.commands.hget(meta, "shards"));
    at.shards.set(topic, { count: shards, atMs: clock.monotonicMs() });
    return shards;
  }

  /** For blocking reads: as the commands' connection, but its own. Its replies keep the form that RESP2 gives them. */
  const readerOf = (at: Started): Redis => {
    const reader = at.commands.duplicate({ protocol: 2 });
    reader.on("error", () => {}); // the commands' connection says so
    return reader;
  };

  const base = service("topics on Redis", context, async (acquired, signal) => {
    const at = await startUp(settings, context, acquired, signal);
    acquired.add(at, "subscriptions", async () => {
      started = undefined;
      await Promise.all([...at.subscriptions].map((subscription) => subscription.close()));
      await within(clock, 2_000, "publishing what waits", () => at.publisher.idle()).catch(() => {});
      publishedBefore += at.publisher.again;
    });
    started = at;
    if (settings.trims === false) return;
    let round = 0;
    void loop(context, signal, "trimming the topics", async () => {
      await clock.sleep(TRIM_EVERY_MS, signal);
      round += 1;
      for (const topic of at.shards.keys()) {
        await trim(at, topic);
        if (round % DEAD_LETTER_ROUNDS === 0 && !isDeadLetterTopic(topic)) await trim(at, deadLetterTopic(topic));
      }
    });
  });

  async function trim(at: Started, topic: string): Promise<void> {
    const retentionMs = isDeadLetterTopic(topic)
      ? Math.max(settings.retentionMs, DEAD_LETTERS_MS)
      : settings.retentionMs;
    const args = [retentionMs, settings.maxBytesPerTopic, leaseMs * 2];
    const [, bytes, held] = Three.parse(await scripts.trim.run(at.commands, [topicKey(prefix, topic)], args));
    if (held === 1) {
      const { maxBytesPerTopic } = settings;
      context.log.warn({ topic, bytes, maxBytesPerTopic }, "a consumer's backlog keeps the topic over its byte limit");
    }
  }

  return {
    ...base,

    async ensureTopic(topic) {
      await shardsOf(live(), topic);
    },

    async publish(topic, messages) {
      const at = live();
      const shards = knownShards(at, topic) ?? (await count(at, topic));
      await at.publisher.publish(topicKey(prefix, topic), shards, messages);
    },

    subscribe(topic: string, options: SubscribeOptions) {
      const at = live();
      const key = topicKey(prefix, topic);
      const parts = {
        ...{ topic, options, leaseMs, topicKey: key, commands: at.commands, reader: readerOf(at) },
        ...{ group: options.group, consumer: options.consumer, from: options.from ?? ("earliest" as const) },
        groupKey: groupKey(key, options.group),
        deadLetterKey: topicKey(prefix, deadLetterTopic(topic)),
        prepare: () => {
          at.shards.delete(topic); // asked for when something is amiss, such as a store that was emptied by hand
          return shardsOf(at, topic);
        },
        storeRun: () => at.storeRun.id(),
      };
      const subscription = new RedisSubscription(parts, context, () => at.subscriptions.delete(subscription));
      at.subscriptions.add(subscription);
      return subscription;
    },

    trouble: () => null,

    publishedAgain: () => publishedBefore + (started?.publisher.again ?? 0),

    async lag(topic, group) {
      const key = topicKey(prefix, topic);
      const reply = Three.parse(await scripts.lag.run(live().commands, [key, groupKey(key, group)], []));
      return { messages: reply[0], oldestAgeMs: reply[1], lost: reply[2] };
    },

    async *tail(topic, start, signal) {
      const at = live();
      const shards = await shardsOf(at, topic);
      const either = AbortSignal.any([signal, at.signal]);
      yield* tailRedisTopic(
        readerOf(at),
        { name: topic, key: topicKey(prefix, topic), shards },
        start,
        either,
        context,
      );
    },

    async ends(topic): Promise<Places> {
      const at = live();
      const shards = await shardsOf(at, topic);
      return endsOf(await at.commands.hgetall(metaKey(topicKey(prefix, topic))), shards);
    },
  };
}

async function startUp(
  { redisUrl, prefix = "vl:topic:" }: RedisTopicSettings,
  context: Context,
  acquired: Acquired,
  signal: AbortSignal,
): Promise<Started> {
  const commands = acquired.add(
    await connectStore(redisUrl, context, { socketTimeout: SILENT_MS }, signal),
    "connection",
    (redis) => redis.disconnect(),
  );
  const publisher = new RedisPublisher(commands, prefix, context);
  const shards: Started["shards"] = new Map();
  const subscriptions = new Set<RedisSubscription>();
  const storeRun = await followRun(commands, context, signal, () => {
    context.log.warn("the store has restarted and may have lost its newest writes; reading from where it stands");
    shards.clear();
    for (const subscription of subscriptions) subscription.storeRolledBack();
    publisher.storeRolledBack();
  });
  return { commands, publisher, signal, shards, subscriptions, storeRun };
}
