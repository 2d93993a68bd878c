/**
 * Exactly-once write-back to Kafka: a batch of outcomes and the outbox's position are one transaction. Whoever comes next, after
 * a crash or an error, first ends what the one before had begun (the transactional id fences it), then reads the position,
 * and passes over what is published. So a reader of committed messages sees each outcome once.
 *
 * The entries leave the outbox only after the commit; until then the position alone says that they are published. A store that
 * came back without its newest writes may not even know that an outcome was: it comes again, in an entry of its own, and is known
 * by its name (outbox-note.ts).
 */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { errorCode } from "../errors.ts";
import { within } from "../lifecycle.ts";
import { type PartitionEnds, presentEnds } from "./kafka-behind.ts";
import { COMPRESSIONS, createKafka, isOfKafka, KafkaCluster } from "./kafka-client.ts";
import type { KafkaConnection } from "./kafka-connection.ts";
import { ANOTHER_NOTE, beginWriter, TRANSACTION_MS, type Writer } from "./kafka-outbox-writer.ts";
import { messageToRecord } from "./kafka-records.ts";
import type { KafkaTopicSettings } from "./kafka-topic-settings.ts";
import { KafkaTrouble } from "./kafka-trouble.ts";
import { keyToShard, keyToShardByCrc32 } from "./key-to-shard.ts";
import { advance, heldIds, noteToText, type OutboxNote, readForgotten } from "./outbox-note.ts";
import { isPublished, nextPosition, type OutboxPosition, positionToMetadata } from "./outbox-position.ts";
import type { OpenOutboxTransfer, OutboxEntry } from "./outbox-transfer.ts";
import { comparePositions } from "./topic-log.ts";

export interface KafkaOutboxSettings extends KafkaConnection, Pick<KafkaTopicSettings, "partitioner" | "compression"> {
  /** The outbox stream, such as "{vl}:outbox". */
  outboxKey: string;
  /** The topic beside whose partition 0 the position is kept. It has to exist. */
  positionTopic: string;
  /** What a message is about: two of one name are never both published. "": it is none of ours. Never throws. */
  nameOf: (value: Buffer) => string;
}

const CLOSE_MS = 400;
/** Partitions are counted again after so long: a topic may grow while we run. */
const COUNTED_MS = 10_000;

/** `redis`: a connection of connectStore, which the caller keeps and ends. The transfer itself is to be closed. */
export function createKafkaOutboxTransfer(
  redis: Redis,
  settings: KafkaOutboxSettings,
  context: Context,
): OpenOutboxTransfer {
  const { outboxKey, positionTopic, nameOf } = settings;
  const { kafka, hangUp } = createKafka(settings, "vigilane-write-back", context);
  const byKey = settings.partitioner === "crc32" ? keyToShardByCrc32 : keyToShard;
  const clusters = new Map<string, KafkaCluster>();
  /** Partitions by topic, as the writer's producer knows them, and when they were counted. */
  const counted = new Map<string, { partitions: number; atMs: number }>();
  let writer: Writer | undefined;
  const closed = new AbortController();
  const log = context.log.child({ outbox: outboxKey });
  const trouble = new KafkaTrouble(settings, { ...context, log }, closed.signal);

  /** Ends it in the background: whoever was fenced, or is in doubt, must not go on with the same producer. */
  function drop(): Promise<unknown> {
    const dropped = [...clusters.values()].map((cluster) => cluster.close());
    if (writer) dropped.push(writer.producer.disconnect().catch(() => {}));
    clusters.clear();
    counted.clear();
    writer = undefined;
    return Promise.all(dropped);
  }

  async function clusterOf(topic: string): Promise<KafkaCluster> {
    const cluster = clusters.get(topic) ?? new KafkaCluster(kafka, topic);
    clusters.set(topic, cluster);
    await cluster.connect();
    return cluster;
  }

  /** A producer does not hear by itself of partitions that are new: then another goes on. */
  async function lookForGrowth(topic: string): Promise<void> {
    const nowMs = context.clock.monotonicMs();
    const before = counted.get(topic);
    if (before && nowMs - before.atMs < COUNTED_MS) return;
    const cluster = await clusterOf(topic);
    if (before) await cluster.refresh();
    const partitions = cluster.partitions();
    if (before && partitions > before.partitions) {
      context.log.info({ topic, partitions }, "the topic has grown");
      await drop();
    } else counted.set(topic, { partitions, atMs: nowMs });
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
      [...byPartition].map(async ([partition, some]) => {
        const [appended] = await transaction.send({
          ...{ topic, acks: -1, timeout: TRANSACTION_MS, compression: COMPRESSIONS[settings.compression ?? "none"] },
          messages: some.map(({ message }) => ({ partition, ...messageToRecord(message) })),
        });
        if (appended === undefined) throw new Error(`the producer does not know all of ${topic} yet`);
        return [String(partition), String(BigInt(appended.baseOffset ?? 0) + BigInt(some.length - 1))] as const;
      }),
    );
    const number = at.note.number + 1n;
    const place = { partition: 0, offset: String(number), metadata: positionToMetadata(after) };
    await transaction.sendOffsets({
      consumerGroupId: at.groupId,
      topics: [{ topic: positionTopic, partitions: [place] }],
    });
    await transaction.commit();
    at.note = { number, position: after, ends: withEnds(at.note, topic, Object.fromEntries(sent)) };
  }

  /** Tells the store where the writer is by now, and which entries leave for that. */
  async function tell(at: Writer, entries: readonly OutboxEntry[] = []): Promise<void> {
    const next = noteToText(at.note);
    const leaving = entries.map(({ outboxId, message }) => ({ id: outboxId, name: nameOf(message.value) }));
    const told = await advance(redis, outboxKey, at.noted, next, { leaving });
    if (told === "another") throw new Error(ANOTHER_NOTE);
    at.noted = next;
    if (told === "missed") at.forgotten = await readForgotten(redis, outboxKey);
    else for (const { name } of leaving) at.forgotten.delete(name);
  }

  /** Those whose like is published leave. Resolves with the ids of the others. */
  async function passOver(at: Writer, entries: readonly OutboxEntry[], present: readonly string[]): Promise<string[]> {
    if (at.forgotten.size === 0) return [...present];
    const there = new Set(present);
    const again = entries.filter(({ outboxId, message }) => {
      if (!there.has(outboxId) || isPublished(at.note.position, outboxId)) return false;
      const name = nameOf(message.value);
      return name !== "" && at.forgotten.has(name);
    });
    if (again.length === 0) return [...present];
    await tell(at, again);
    context.log.info({ messages: again.length }, "what the store had forgotten came again, and is not published again");
    const left = new Set(again.map(({ outboxId }) => outboxId));
    return present.filter((id) => !left.has(id));
  }

  return {
    async transfer(topic, entries) {
      if (entries.length === 0) return 0;
      const begunMs = context.clock.monotonicMs();
      try {
        await lookForGrowth(topic);
        writer ??= await beginWriter({ kafka, redis, outboxKey, positionTopic, topic, clusterOf, nameOf }, context);
        const at = writer;
        if (at.note.ends[topic] === undefined) {
          at.note = { ...at.note, ends: withEnds(at.note, topic, await presentEnds(await clusterOf(topic))) };
          await tell(at);
        }
        const { last } = at.note.position;
        const upto = entries.reduce((a, { outboxId: b }) => (comparePositions(a, b) > 0 ? a : b), last);
        const committed = last === "0-0" ? "" : last;
        const held = await heldIds(redis, outboxKey, { committed, upto, known: at.noted });
        if (held === undefined) throw new Error(ANOTHER_NOTE);
        // The store has forgotten, once more, that some had come again.
        if (held.forgotten !== at.forgotten.size) at.forgotten = await readForgotten(redis, outboxKey);
        const present = await passOver(at, entries, held.ids);
        const there = new Set(present);
        const staying = entries.filter(({ outboxId }) => there.has(outboxId));
        const wanted = new Set(staying.map(({ outboxId }) => outboxId));
        const { chosen, after } = nextPosition(at.note.position, wanted, present);
        const due = staying.filter(({ outboxId }) => chosen.has(outboxId));
        if (due.length > 0) {
          await send(at, topic, due, after);
          trouble.sent({ topic });
        }
        await tell(
          at,
          staying.filter(({ outboxId }) => isPublished(at.note.position, outboxId)),
        );
        return due.length + held.ids.length - present.length;
      } catch (error) {
        // What ails the store is not Kafka's.
        const isKafkas = isOfKafka(error) || errorCode(error)?.startsWith("BROKER_");
        if (isKafkas && !closed.signal.aborted) trouble.sendFailed({ topic }, error, begunMs);
        void drop();
        throw error;
      }
    },
    trouble: () => (closed.signal.aborted ? null : trouble.now()),
    async close() {
      closed.abort();
      await within(context.clock, CLOSE_MS, "disconnecting", drop).catch(() => {});
      hangUp();
    },
  };
}

const withEnds = ({ ends }: OutboxNote, topic: string, some: PartitionEnds): OutboxNote["ends"] => ({
  ...ends,
  [topic]: { ...ends[topic], ...some },
});
