/**
 * The beginning of a writer of the outbox to Kafka: it ends what the one before had begun, and finds out how far the outbox is
 * published, and what of it the store has forgotten.
 */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { type PartitionEnds, readBehind } from "./kafka-behind.ts";
import type { Kafka, KafkaCluster, Producer } from "./kafka-client.ts";
import { POSITION_GROUPS } from "./kafka-groups.ts";
import {
  advance,
  keepForgotten,
  noteToText,
  type OutboxNote,
  readForgotten,
  readNote,
  textToNote,
} from "./outbox-note.ts";
import { metadataToPosition, NOTHING_PUBLISHED } from "./outbox-position.ts";

/** An open transaction that a killed writer left holds readers back for so long, unless a successor ends it before. */
export const TRANSACTION_MS = 5_000;
const RETRY = { initialRetryTime: 20, maxRetryTime: 300, retries: 12 };
/** The store's clock and the brokers' differ by less. */
const CLOCKS_MS = 600_000;
/** The outbox's own name, made at first use: by it writers of one outbox fence each other, and no others. */
const NAME_SUFFIX = "-name";

export interface Writer {
  producer: Producer;
  groupId: string;
  note: OutboxNote;
  /** The note as the store has it. */
  noted: string;
  /** Names of what is published, and comes again because the store has forgotten that. */
  forgotten: Set<string>;
}

export interface WriterOf {
  kafka: Kafka;
  redis: Redis;
  outboxKey: string;
  positionTopic: string;
  /** Where it is to write first. */
  topic: string;
  clusterOf: (topic: string) => Promise<KafkaCluster>;
  /** What a message is about: two of one name are never both published. "": it is none of ours. */
  nameOf: (value: Buffer) => string;
}

export async function beginWriter(of: WriterOf, context: Context): Promise<Writer> {
  const { kafka, redis, outboxKey, positionTopic } = of;
  const cluster = await of.clusterOf(positionTopic);
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
    const { note, noted } = await reconcile(of, groupId, found, context);
    return { producer, groupId, note, noted, forgotten: await readForgotten(redis, outboxKey) };
  } catch (error) {
    await producer.disconnect().catch(() => {});
    throw error;
  }
}

type Place = Omit<OutboxNote, "ends">;

/** Kafka's word goes before the store's. What Kafka knows and the store does not is looked up, and noted. */
async function reconcile(of: WriterOf, groupId: string, found: Place | undefined, { log }: Context) {
  const { redis, outboxKey } = of;
  const noted = await readNote(redis, outboxKey);
  const before = textToNote(noted);
  const ends = before?.ends ?? {};
  if (found === undefined && before !== null)
    log.warn({ groupId }, "Kafka has forgotten the outbox's position (idle for days?); going on from the store's copy");
  if (found === undefined) return { note: before ?? { number: 0n, position: NOTHING_PUBLISHED, ends }, noted };
  if (found.number <= (before?.number ?? 0n)) return { note: { ...found, ends }, noted };
  const names = new Set<string>();
  const present: Record<string, PartitionEnds> = {};
  const sinceMs = before ? publishedAfterMs(before) : 0;
  for (const topic of new Set([...Object.keys(ends), of.topic])) {
    const places = ends[topic] ?? {};
    const name = (value: Buffer) => void names.add(of.nameOf(value));
    present[topic] = await readBehind(await of.clusterOf(topic), topic, { places, sinceMs }, name);
  }
  names.delete("");
  const note = { ...found, ends: present };
  const text = noteToText(note);
  const seal = await keepForgotten(redis, outboxKey, [...names]);
  if (seal === undefined || (await advance(redis, outboxKey, noted, text, { seal })) === "another")
    throw new Error(ANOTHER_NOTE);
  const transactions = Number(found.number - (before?.number ?? 0n));
  log.info({ transactions, messages: names.size }, "published, and not known to the store: not published again");
  return { note, noted: text };
}

/** What a later transaction has published came after this time, on the brokers' clock: after the last entry that the note knows of. */
const publishedAfterMs = ({ position }: OutboxNote) => Math.max(0, Number.parseInt(position.last, 10) - CLOCKS_MS);

/** Either way: begin anew. */
export const ANOTHER_NOTE = "the store has forgotten what this writer did last, or another writer is at it";

async function committedPlace(cluster: KafkaCluster, groupId: string, topic: string): Promise<Place | undefined> {
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
