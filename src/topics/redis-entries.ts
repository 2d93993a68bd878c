/** How a message lies in a Redis stream, and back. Pure; the bytes of key, value and headers survive exactly. */
import type { OutgoingMessage, TopicMessage } from "./topic-log.ts";

/** What a stream entry tells by itself; the subscription adds how often it was delivered. */
export type StoredMessage = Omit<TopicMessage, "deliveries">;

/**
 * Fields: v the value, k the key as UTF-8 (or j the key as JSON, where it has lone surrogates, which UTF-8 cannot
 * hold), h the headers as JSON, absent when there are none.
 */
export function messageToFields({ key, value, headers }: OutgoingMessage): (string | Buffer)[] {
  const fields: (string | Buffer)[] = key.isWellFormed()
    ? ["k", key, "v", value]
    : ["j", JSON.stringify(key), "v", value];
  if (headers && Object.keys(headers).length > 0) fields.push("h", JSON.stringify(headers));
  return fields;
}

/** The arguments that redis-publish.lua and outbox-transfer.lua take for one message. */
export function messageToArguments(message: OutgoingMessage, shard: number): (string | number | Buffer)[] {
  const fields = messageToFields(message);
  return [shard, fields.length, ...fields];
}

/** One entry of an XREAD or XRANGE reply in buffers: [id, [field, value, …]]. */
export function entryToMessage(topic: string, shard: number, entry: unknown): StoredMessage {
  if (!Array.isArray(entry)) throw new TypeError("not a stream entry");
  const position = String(entry[0]);
  const fields = new Map<string, Buffer>();
  const flat: unknown = entry[1];
  if (Array.isArray(flat)) {
    for (let i = 0; i + 1 < flat.length; i += 2) fields.set(String(flat[i]), toBuffer(flat[i + 1]));
  }
  const json = fields.get("j");
  return {
    topic,
    shard,
    position,
    key: json ? String(JSON.parse(json.toString("utf8"))) : (fields.get("k")?.toString("utf8") ?? ""),
    value: fields.get("v") ?? Buffer.alloc(0),
    headers: toHeaders(fields.get("h")),
    appendedAtMs: Number(position.slice(0, position.indexOf("-"))),
  };
}

function toHeaders(bytes: Buffer | undefined): Record<string, string> {
  return bytes ? (JSON.parse(bytes.toString("utf8")) as Record<string, string>) : {};
}

const toBuffer = (value: unknown) => (Buffer.isBuffer(value) ? value : Buffer.from(String(value)));
