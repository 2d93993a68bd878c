/**
 * What the store notes of an outbox's writing to Kafka: the last transaction that the writer knew as committed, with the outbox's
 * position after it and the ends of what it had appended. Where Kafka has a later one, the store has forgotten transactions, and perhaps
 * that their outcomes ever were: those come again and must not be published twice. What they were stands in the topics
 * behind the noted ends; their names are kept in a set until each has come again.
 */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { z } from "zod";
import { StoreScript } from "../store.ts";
import type { PartitionEnds } from "./kafka-behind.ts";
import { metadataToPosition, type OutboxPosition, positionToMetadata } from "./outbox-position.ts";

const NOTE_SUFFIX = "-position";
const FORGOTTEN_SUFFIX = "-forgotten";
/** Whatever has not come again by then never will. */
const FORGOTTEN_KEPT_S = 7 * 24 * 3_600;
/** So many names at once. */
const PIECE = 1_000;

const advanceScript = new StoreScript(new URL("./outbox-advance.lua", import.meta.url));
const keepScript = new StoreScript(new URL("./outbox-keep.lua", import.meta.url));
const heldScript = new StoreScript(new URL("./outbox-held.lua", import.meta.url));

/** Of each topic, by partition: the offset of the last message that may be there already. Partitions without are new, or of no note yet. */
export type TopicEnds = Readonly<Record<string, PartitionEnds>>;

export interface OutboxNote {
  /** Of the transaction: the offset that it committed, which grows by one each. */
  number: bigint;
  position: OutboxPosition;
  ends: TopicEnds;
}

const Offset = z.string().regex(/^-?\d+$/);
const Written = z.object({
  number: z.string().regex(/^\d+$/),
  metadata: z.string(),
  ends: z.record(z.string(), z.record(z.string(), Offset)).default({}),
});

export const noteToText = ({ number, position, ends }: OutboxNote) =>
  JSON.stringify({ number: String(number), metadata: positionToMetadata(position), ends });

/** Null: nothing is noted yet. */
export function textToNote(text: string): OutboxNote | null {
  if (text === "") return null;
  const { number, metadata, ends } = Written.parse(JSON.parse(text));
  return { number: BigInt(number), position: metadataToPosition(metadata), ends };
}

export const readNote = async (redis: Redis, outboxKey: string) => (await redis.get(outboxKey + NOTE_SUFFIX)) ?? "";

/** Names of what is published and may come again. */
export const readForgotten = async (redis: Redis, outboxKey: string) =>
  new Set(await redis.smembers(outboxKey + FORGOTTEN_SUFFIX));

const Held = z.tuple([z.number(), z.array(z.string())]).nullable();

/**
 * Ids in the outbox up to `upto`, and how many names the store knows as forgotten: that may change while the note stays as it is.
 * Undefined: the note is not `known` any more.
 */
export async function heldIds(
  redis: Redis,
  outboxKey: string,
  { committed, upto, known }: { committed: string; upto: string; known: string },
): Promise<{ ids: string[]; forgotten: number } | undefined> {
  const keys = [outboxKey, outboxKey + NOTE_SUFFIX, outboxKey + FORGOTTEN_SUFFIX];
  const held = Held.parse(await heldScript.run(redis, keys, [committed, upto, known]));
  return held ? { forgotten: held[0], ids: held[1] } : undefined;
}

/**
 * Keeps the names of what is published and was forgotten, in pieces, since there is no saying how many they are. Resolves with the
 * seal that the last one has left ("": there was none), by which `advance` knows that all are there; undefined: the store has
 * forgotten some of them meanwhile.
 */
export async function keepForgotten(
  redis: Redis,
  outboxKey: string,
  names: readonly string[],
): Promise<string | undefined> {
  let seal = "";
  for (let i = 0; i < names.length; i += PIECE) {
    const next = `seal ${randomUUID()}`;
    const piece = [seal, next, FORGOTTEN_KEPT_S, ...names.slice(i, i + PIECE)];
    if ((await keepScript.run(redis, [outboxKey + FORGOTTEN_SUFFIX], piece)) !== 1) return undefined;
    seal = next;
  }
  return seal;
}

/**
 * From the note `known` to the note `next`, and in one step with that the entries that leave the outbox, each with the name of what
 * it is. "another": the note is neither, or `seal` (of keepForgotten) is gone, and nothing was changed. "missed": some of those that were to leave were not there; what of
 * them is published is named as forgotten now.
 */
export async function advance(
  redis: Redis,
  outboxKey: string,
  known: string,
  next: string,
  { leaving = [], seal = "" }: { leaving?: readonly { id: string; name: string }[]; seal?: string },
): Promise<"done" | "missed" | "another"> {
  const keys = [outboxKey, outboxKey + NOTE_SUFFIX, outboxKey + FORGOTTEN_SUFFIX];
  const pairs = leaving.flatMap(({ id, name }) => [id, name]);
  const reply = await advanceScript.run(redis, keys, [known, next, FORGOTTEN_KEPT_S, seal, ...pairs]);
  return (["another", "done", "missed"] as const)[z.number().int().min(0).max(2).parse(reply)] ?? "another";
}
