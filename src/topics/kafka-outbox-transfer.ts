/**
 * Exactly-once write-back to Kafka: a batch of outcomes and the outbox's position are one transaction. Whoever comes next, after
 * a crash or an error, first ends what the one before had begun (the transactional id fences it), then reads the position,
 * and passes over what is published. So a reader of committed messages sees each outcome once.
 *
 * The entries leave the outbox only after the commit; until then the position alone says that they are published.
 */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { within } from "../lifecycle.ts";
import { StoreScript } from "../store.ts";
import { COMPRESSIONS, createKafka, type Kafka, KafkaCluster, type Producer } from "./kafka-client.ts";
import type { KafkaConnection } from "./kafka-connection.ts";
import { POSITION_GROUPS } from "./kafka-groups.ts";
import { messageToRecord } from "./kafka-records.ts";
import type { KafkaTopicSettings } from "./kafka-topic-settings.ts";
import { keyToShard, keyToShardByCrc32 } from "./key-to-shard.ts";
import {
  isPublished,
  metadataToPosition,
  NOTHING_PUBLISHED,
  nextPosition,
  type OutboxPosition,
  positionToMetadata,
} from "./outbox-position.ts";
import type { OutboxEntry, OutboxTransfer } from "./outbox-transfer.ts";
import { comparePositions } from "./topic-log.ts";

export interface KafkaOutboxSettings extends KafkaConnection, Pick<KafkaTopicSettings, "partitioner" | "compression"> {
  /** The outbox stream, such as "{vl}:outbox". */
  outboxKey: string;
  /** The topic beside whose partition 0 the position is kept. It has to exist. */
  positionTopic: string;
}

/** An open transaction that a killed writer left holds readers back for so long, unless a successor ends it before. */
const TRANSACTION_MS = 5_000;
const CLOSE_MS = 400;
const RETRY = { initialRetryTime: 20, maxRetryTime: 300, retries: 12 };
/** The outbox's own name, made at first use: by it writers of one outbox fence each other, and no others. */
const NAME_SUFFIX = "-name";
/** A copy of the position, for the case that Kafka has forgotten an idle group's. */
const COPY_SUFFIX = "-position";

const heldIds = new StoreScript(new URL("./outbox-held.lua", import.meta.url));

interface Writer {
  producer: Producer;
  cluster: KafkaCluster;
  groupId: string;
  position: OutboxPosition;
  /** Offset of the position; grows by one each batch. */
  number: bigint;
}

/** `redis`: a connection of connectStore, which the caller keeps and ends. The transfer itself is to be closed. */
export function createKafkaOutboxTransfer(
  redis: Redis,
  settings: KafkaOutboxSettings,
  context: Context,
): OutboxTransfer & { close(): Promise<void> } {
  const { kafka, hangUp } = createKafka(settings, "vigilane-write-back", context);
  const byKey = settings.partitioner === "crc32" ? keyToShardByCrc32 : keyToShard;
  const clusters = new Map<string, KafkaCluster>();
  let writer: Writer | undefined;

  /** Ends it in the background: whoever was fenced, or is in doubt, must not go on with the same producer. */
  function drop(): Promise<unknown> {
    const dropped = [...clusters.values()].map((cluster) => cluster.close());
    if (writer) dropped.push(writer.producer.disconnect().catch(() => {}));
    clusters.clear();
    writer = undefined;
    return Promise.all(dropped);
  }

  async function clusterOf(topic: string): Promise<KafkaCluster> {
    const cluster = clusters.get(topic) ?? new KafkaCluster(kafka, topic);
    clusters.set(topic, cluster);
    await cluster.connect();
    return cluster;
  }

  async function send(
    at: Writer,
    topic: string,
    entries: readonly OutboxEntry[],
    after: OutboxPosition,
  ): Promise<void> {
    const partitions = (await clusterOf(topic)).partitions();
    if (partitions === 0) throw new Error(`there is no topic ${topic} yet`);
    const byPartition = Map.groupBy(entries, ({ message }) => byKey(message.key, partitions));
    const transaction = await at.producer.transaction();
    // One send a partition: kafkajs loses messages of one that spans several when a leader dies.
    const sent = await Promise.all(
      [...byPartition].map(([partition, some]) =>
        transaction.send({
          ...{ topic, acks: -1, timeout: TRANSACTION_MS, compression: COMPRESSIONS[settings.compression ?? "none"] },
          messages: some.map(({ message }) => ({ partition, ...messageToRecord(message) })),
        }),
      ),
    );
    if (sent.some((appended) => appended.length === 0))
      throw new Error(`the producer does not know all of ${topic} yet`);
    const place = { partition: 0, offset: String(at.number + 1n), metadata: positionToMetadata(after) };
    await transaction.sendOffsets({
      consumerGroupId: at.groupId,
      topics: [{ topic: settings.positionTopic, partitions: [place] }],
    });
    await transaction.commit();
    at.number += 1n;
    at.position = after;
  }

  return {
    async transfer(topic, entries) {
      if (entries.length === 0) return 0;
      try {
        writer ??= await begin(kafka, redis, settings, await clusterOf(settings.positionTopic), context);
        const at = writer;
        const wanted = new Set(entries.map(({ outboxId }) => outboxId));
        const committed = at.position.last === "0-0" ? "" : at.position.last;
        const last = [...wanted, at.position.last].reduce((a, b) => (comparePositions(a, b) > 0 ? a : b));
        const present = z.array(z.string()).parse(await heldIds.run(redis, [settings.outboxKey], [committed, last]));
        const { chosen, after } = nextPosition(at.position, wanted, present);
        const due = entries.filter(({ outboxId }) => chosen.has(outboxId));
        if (due.length > 0) await send(at, topic, due, after);
        const gone = entries
          .filter(({ outboxId }) => isPublished(at.position, outboxId))
          .map((entry) => entry.outboxId);
        const copy = JSON.stringify({ number: String(at.number), metadata: positionToMetadata(at.position) });
        const leaving = redis.multi().set(settings.outboxKey + COPY_SUFFIX, copy);
        if (gone.length > 0) leaving.xdel(settings.outboxKey, ...gone);
        await leaving.exec();
        return due.length;
      } catch (error) {
        void drop();
        throw error;
      }
    },
    async close() {
      await within(context.clock, CLOSE_MS, "disconnecting", drop).catch(() => {});
      hangUp();
    },
  };
}

/** Ends what an earlier writer has begun; only then its position is certain. */
async function begin(
  kafka: Kafka,
  redis: Redis,
  { outboxKey, positionTopic }: KafkaOutboxSettings,
  cluster: KafkaCluster,
  { log }: Context,
): Promise<Writer> {
  await redis.setnx(outboxKey + NAME_SUFFIX, randomUUID());
  const name = (await redis.get(outboxKey + NAME_SUFFIX)) ?? "";
  const groupId = `${POSITION_GROUPS}${name}`;
  const producer = kafka.producer({
    ...{ idempotent: true, transactionalId: `vigilane-write-back-${name}`, maxInFlightRequests: 1 },
    ...{ transactionTimeout: TRANSACTION_MS, retry: RETRY, allowAutoTopicCreation: false, metadataMaxAge: 30_000 },
    createPartitioner:
      () =>
      ({ message }) =>
        message.partition ?? 0,
  });
  try {
    await producer.connect();
    await (await producer.transaction()).abort(); // fences; nothing was begun, so nothing is written
    const found = await committedPlace(cluster, groupId, positionTopic);
    const copy = Copy.parse(JSON.parse((await redis.get(outboxKey + COPY_SUFFIX)) ?? "null"));
    if (found === undefined && copy !== null) {
      log.warn(
        { groupId },
        "Kafka has forgotten the outbox's position (idle for days?); going on from the store's copy",
      );
    }
    const place = found ?? (copy && { number: BigInt(copy.number), position: metadataToPosition(copy.metadata) });
    return { producer, cluster, groupId, number: place?.number ?? 0n, position: place?.position ?? NOTHING_PUBLISHED };
  } catch (error) {
    await producer.disconnect().catch(() => {});
    throw error;
  }
}

const Copy = z.object({ number: z.string().regex(/^\d+$/), metadata: z.string() }).nullable();

async function committedPlace(cluster: KafkaCluster, groupId: string, topic: string) {
  const coordinator = await cluster.coordinator(groupId);
  const { responses } = await coordinator.offsetFetch({ groupId, topics: [{ topic, partitions: [{ partition: 0 }] }] });
  const [row] = responses.flatMap(({ partitions }) => partitions);
  if (row === undefined || BigInt(row.offset) < 0n) return undefined;
  try {
    return { number: BigInt(row.offset), position: metadataToPosition(row.metadata ?? "") };
  } catch (error) {
    throw new VigilaneError("BROKER_REFUSED", `group ${groupId} holds a position that is not ours: ${row.metadata}`, {
      cause: error,
      remedy: "Somebody has reset this group. Delete it (rpk group delete) to go on from the store's copy.",
    });
  }
}
