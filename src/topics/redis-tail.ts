/** Reads a Redis topic from a place without any group: nothing is owned, nothing is acknowledged, nothing is changed. */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { untilAborted } from "../lifecycle.ts";
import { entryToMessage } from "./redis-entries.ts";
import { metaKey, streamKey } from "./redis-topic-keys.ts";
import { comparePositions, type Places, type TopicMessage } from "./topic-log.ts";

const BLOCK_MS = 5_000;
const COUNT = 100;

/** Messages of one shard in order; of several shards, in the order of their appending as far as they were read together. Owns `reader`. */
export async function* tailRedisTopic(
  reader: Redis,
  topic: { name: string; key: string; shards: number },
  start: Places | "earliest",
  signal: AbortSignal,
  { clock, log }: Context,
): AsyncGenerator<TopicMessage> {
  const keys = Array.from({ length: topic.shards }, (_, shard) => streamKey(topic.key, shard));
  const places = keys.map((_, shard) => (start === "earliest" ? "0-0" : (start[shard] ?? "0-0")));
  let lookedMs = clock.monotonicMs();
  /** A topic may grow while it is read: its new shards are read from their beginning. */
  const grow = async () => {
    if (clock.monotonicMs() - lookedMs < BLOCK_MS) return;
    lookedMs = clock.monotonicMs();
    const shards = Number((await reader.hget(metaKey(topic.key), "shards")) ?? 0);
    for (let shard = keys.length; shard < shards; shard += 1) {
      keys.push(streamKey(topic.key, shard));
      places.push("0-0");
    }
  };
  const ask = <T>(question: Promise<T>) => untilAborted(signal, question);
  let ended = false;
  // Once: ioredis waits for the end of a connection that has ended already, for two seconds.
  const end = () => {
    if (!ended) reader.disconnect();
    ended = true;
  };
  signal.addEventListener("abort", end, { once: true });
  try {
    while (!signal.aborted) {
      await ask(grow()).catch(() => {}); // the connection says so
      if (signal.aborted) return;
      const read = reader.callBuffer("XREAD", "COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS", ...keys, ...places);
      const reply = await ask(read).catch(async (err: unknown) => {
        if (signal.aborted) return null;
        log.warn({ err, topic: topic.name }, "could not read, will be tried again");
        await clock.sleep(500, signal).catch(() => {});
        return null;
      });
      const messages: TopicMessage[] = [];
      for (const [key, entries] of Array.isArray(reply) ? (reply as [Buffer, unknown[]][]) : []) {
        const shard = keys.indexOf(key.toString());
        for (const entry of entries) messages.push({ ...entryToMessage(topic.name, shard, entry), deliveries: 1 });
        places[shard] = messages.at(-1)?.position ?? "0-0";
      }
      if (messages.length === 0 && !signal.aborted) await ask(withinLog(reader, topic, places)).catch(() => {});
      messages.sort((a, b) => a.appendedAtMs - b.appendedAtMs);
      for (const message of messages) {
        if (signal.aborted) return;
        yield message;
      }
    }
  } finally {
    signal.removeEventListener("abort", end);
    end();
  }
}

/**
 * Where nothing has come for a while, no place may lie ahead of its shard's end: a store that came back without its newest
 * writes, with its clock set back, gives out smaller positions than were read before.
 */
async function withinLog(reader: Redis, topic: { key: string }, places: string[]): Promise<void> {
  const ends = endsOf(await reader.hgetall(metaKey(topic.key)), places.length);
  ends.forEach((end, shard) => {
    if (comparePositions(places[shard] ?? end, end) > 0) places[shard] = end;
  });
}

/** The last position of each shard, of a topic's meta hash. */
export function endsOf(meta: Record<string, string>, shards: number): string[] {
  return Array.from({ length: shards }, (_, shard) => `${meta[`${shard}:ms`] ?? 0}-${meta[`${shard}:n`] ?? 0}`);
}
