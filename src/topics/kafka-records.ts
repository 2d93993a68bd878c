/**
 * How a message lies in Kafka, and back. Pure; key, value and headers survive exactly. Of another program's message two things do
 * not: kafkajs can write no header without a value (it gets an empty one), and hands out headers by their names, so that only
 * those of one name keep their order.
 */
import { z } from "zod";
import type { ForeignRecord, OutgoingMessage, TopicMessage } from "./topic-log.ts";

/** What a record tells by itself; the subscription adds how often it was delivered. */
export type StoredMessage = Omit<TopicMessage, "deliveries">;

/** A record as kafkajs decodes it. */
export interface KafkaRecord {
  offset: string;
  timestamp: string;
  key: Buffer | null;
  value: Buffer | null;
  /** Under the name of a property of every object also that property itself, which is neither bytes nor null. */
  headers: Record<string, unknown>;
  isControlRecord?: boolean;
  batchContext?: { producerId: string; inTransaction: boolean };
}

/**
 * Kafka's keys are bytes and its headers' names UTF-8: text that is no well-formed Unicode (a lone surrogate) would not come
 * out as it went in, and neither would a header by the name of a property that every object has. Such a message carries
 * key and headers as JSON besides.
 */
const AS_JSON = "vigilane-json";
const AsJson = z.object({ key: z.string(), headers: z.array(z.tuple([z.string(), z.string()])) });
type AsJson = z.infer<typeof AsJson>;

/** As kafkajs takes it. */
export interface SentRecord {
  key: string | Buffer | null;
  value: Buffer | null;
  headers: Record<string, string | Buffer[]>;
}

export function messageToRecord({ key, value, headers = {}, foreign }: OutgoingMessage): SentRecord {
  if (foreign) {
    const byName = Map.groupBy(foreign.headers, ([name]) => name);
    const lists = [...byName].map(([name, some]) => [name, some.map(([, bytes]) => bytes)]);
    return { key: foreign.key, value: foreign.value, headers: Object.fromEntries(lists) };
  }
  const all = Object.entries(headers);
  const plain = key.isWellFormed() && all.every(([name, text]) => isPlain(name) && text.isWellFormed());
  return { key, value, headers: plain ? headers : { [AS_JSON]: JSON.stringify({ key, headers: all }) } };
}

const isPlain = (name: string) => name.isWellFormed() && name !== AS_JSON && !(name in {});

/** With `foreign` where the text does not tell all of it. */
export function recordToMessage(topic: string, shard: number, record: KafkaRecord): StoredMessage {
  const { key, value, offset, timestamp } = record;
  const headers = headersOf(record);
  const texts = headers.map(([name, bytes]): [string, string] => [name, bytes.toString("utf8")]);
  const more = asJson(texts);
  const others = more ? texts.filter(([name]) => name !== AS_JSON) : texts;
  const message = {
    ...{ topic, shard, position: offset, appendedAtMs: Number(timestamp) },
    key: more?.key ?? key?.toString("utf8") ?? "",
    value: value ?? Buffer.alloc(0),
    headers: Object.fromEntries([...(more?.headers ?? []), ...others]),
  };
  const foreign = { key, value, headers };
  return isTold(message, foreign, more) ? message : { ...message, foreign };
}

function headersOf(record: KafkaRecord): [string, Buffer][] {
  return Object.entries(record.headers).flatMap(([name, each]) =>
    (Array.isArray(each) ? each : [each])
      .filter((bytes) => bytes === null || Buffer.isBuffer(bytes))
      .map((bytes): [string, Buffer] => [name, bytes ?? Buffer.alloc(0)]),
  );
}

/** Whether the text, published, would be the same record. */
function isTold(text: OutgoingMessage, { key, value, headers }: ForeignRecord, more: AsJson | undefined): boolean {
  if (key === null || value === null || !isUtf8Of(text.key, key)) return false;
  if (more) return headers.length === 1 && isUtf8Of(JSON.stringify(more), headers[0]?.[1]);
  const told = text.headers ?? {};
  return (
    Object.keys(told).length === headers.length &&
    headers.every(([name, bytes]) => isPlain(name) && isUtf8Of(told[name], bytes))
  );
}

const isUtf8Of = (text: string | undefined, bytes: Buffer | undefined) =>
  text !== undefined && bytes !== undefined && Buffer.from(text, "utf8").equals(bytes);

/** Another producer's header of this name, with something else in it, is a header like any other. */
function asJson(headers: readonly [string, string][]): AsJson | undefined {
  const text = headers.find(([name]) => name === AS_JSON)?.[1];
  if (text === undefined) return undefined;
  try {
    return AsJson.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

export interface FetchedPartition {
  partition: number;
  messages: readonly KafkaRecord[];
  /** In the order of their first offsets; null or absent: none. */
  abortedTransactions?: readonly { producerId: string; firstOffset: string }[] | null;
}

/**
 * What a reader of committed messages may see of a fetched partition, from `from` on: nothing of aborted transactions, no
 * control records. `next`: the offset to go on from, behind whatever was left out.
 */
export function readableOf(
  { messages, abortedTransactions }: FetchedPartition,
  from: bigint,
): { records: KafkaRecord[]; next: bigint } {
  const aborted = [...(abortedTransactions ?? [])].sort((a, b) =>
    Number(BigInt(a.firstOffset) - BigInt(b.firstOffset)),
  );
  const inAborted = new Set<string>();
  const records: KafkaRecord[] = [];
  let next = from;
  for (const record of messages) {
    const offset = BigInt(record.offset);
    for (let first = aborted[0]; first && offset >= BigInt(first.firstOffset); first = aborted[0]) {
      inAborted.add(first.producerId);
      aborted.shift();
    }
    const { producerId = "-1", inTransaction = false } = record.batchContext ?? {};
    if (record.isControlRecord) {
      // Version and kind, two bytes each; kind 0: this transaction was aborted.
      if (record.key?.readInt16BE(2) === 0) inAborted.delete(producerId);
    } else if (offset >= from && !(inTransaction && inAborted.has(producerId))) records.push(record);
    if (offset >= next) next = offset + 1n;
  }
  return { records, next };
}
