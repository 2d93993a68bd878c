/** How a message lies in Kafka, and back. Pure; the bytes of key, value and headers survive exactly. */
import { z } from "zod";
import type { OutgoingMessage, TopicMessage } from "./topic-log.ts";

/** What a record tells by itself; the subscription adds how often it was delivered. */
export type StoredMessage = Omit<TopicMessage, "deliveries">;

/** A record as kafkajs decodes it. */
export interface KafkaRecord {
  offset: string;
  timestamp: string;
  key: Buffer | null;
  value: Buffer | null;
  headers: Record<string, Buffer | string | (Buffer | string)[] | undefined>;
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

export function messageToRecord({ key, value, headers = {} }: OutgoingMessage) {
  const all = Object.entries(headers);
  const plain = key.isWellFormed() && all.every(([name, text]) => isPlain(name) && text.isWellFormed());
  return { key, value, headers: plain ? headers : { [AS_JSON]: JSON.stringify({ key, headers: all }) } };
}

const isPlain = (name: string) => name.isWellFormed() && name !== AS_JSON && !(name in {});

/** Without key: "". Without value (a tombstone): no bytes. Of a header that comes twice: the last. */
export function recordToMessage(topic: string, shard: number, record: KafkaRecord): StoredMessage {
  const { key, value, headers, offset, timestamp } = record;
  const texts: [string, string][] = Object.entries(headers).map(([name, each]) => {
    const last = Array.isArray(each) ? each.at(-1) : each;
    return [name, last?.toString("utf8" as BufferEncoding) ?? ""];
  });
  const more = asJson(texts);
  return {
    ...{ topic, shard, position: offset, appendedAtMs: Number(timestamp) },
    key: more?.key ?? key?.toString("utf8") ?? "",
    value: value ?? Buffer.alloc(0),
    headers: Object.fromEntries(more?.headers ?? texts),
  };
}

/** Another producer's header of this name, with something else in it, is a header like any other. */
function asJson(headers: readonly [string, string][]): z.infer<typeof AsJson> | undefined {
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
