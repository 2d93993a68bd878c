/** Which shard a key belongs to: the same everywhere and for ever, and the same as Kafka's own producers choose. */

import { crc32 } from "node:zlib";

/** Bytes are those of another program's key that is no text. */
type Key = string | Buffer;

const bytesOf = (key: Key) => (typeof key === "string" ? Buffer.from(key, "utf8") : key);

/**
 * Murmur2 over the key's UTF-8 bytes, its sign bit cleared, modulo `shards`: what Apache Kafka's default partitioner
 * does (org.apache.kafka.common.utils.Utils.murmur2), so that a camera has the same neighbours on either kind of topics.
 */
export function keyToShard(key: Key, shards: number): number {
  return (murmur2(bytesOf(key)) & 0x7fffffff) % shards;
}

/** CRC-32 of the key's UTF-8 bytes modulo `shards`: what librdkafka's default partitioner does with a key (consistent_random). */
export function keyToShardByCrc32(key: Key, shards: number): number {
  return crc32(bytesOf(key)) % shards;
}

function murmur2(data: Buffer): number {
  const m = 0x5bd1e995;
  const whole = data.length & ~3;
  let h = 0x9747b28c ^ data.length;
  for (let i = 0; i < whole; i += 4) {
    let k = Math.imul(data.readInt32LE(i), m);
    k ^= k >>> 24;
    h = Math.imul(h, m) ^ Math.imul(k, m);
  }
  const rest = data.subarray(whole);
  for (let i = rest.length - 1; i >= 0; i -= 1) h ^= (rest[i] ?? 0) << (8 * i);
  if (rest.length > 0) h = Math.imul(h, m);
  h ^= h >>> 13;
  h = Math.imul(h, m);
  return h ^ (h >>> 15);
}
