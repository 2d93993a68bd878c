/** Reads a Kafka topic from a place without any group: nothing is owned, nothing is committed. */
import type { Context } from "../context.ts";
import { abortOf } from "../lifecycle.ts";
import { Bell } from "./bell.ts";
import type { KafkaCluster } from "./kafka-client.ts";
import { type KafkaLine, tailLine } from "./kafka-line.ts";
import { KafkaReader } from "./kafka-read.ts";
import type { TopicMessage } from "./topic-log.ts";

/** Partitions are counted again after so long. */
const COUNTED_MS = 5_000;

export const shardsOf = (cluster: KafkaCluster) => Array.from({ length: cluster.partitions() }, (_, shard) => shard);

/** `from`: the first offset to read of each partition. `cluster`: the caller's own for this, connected. Ends when `signal` aborts. */
export async function* tailKafkaTopic(
  topic: string,
  cluster: KafkaCluster,
  from: ReadonlyMap<number, bigint>,
  signal: AbortSignal,
  context: Context,
): AsyncGenerator<TopicMessage> {
  const news = new Bell();
  const nowMs = context.clock.monotonicMs();
  const lines = new Map<number, KafkaLine>([...from].map(([shard, next]) => [shard, tailLine(shard, next, nowMs)]));
  void abortOf(signal).then(() => news.ring());
  const reader = new KafkaReader({ topic, cluster, lines, news: () => news.ring(), signal }, context);
  const { clock } = context;
  let countedMs = nowMs;
  while (!signal.aborted) {
    reader.pump();
    await news.wait(clock, COUNTED_MS);
    if (clock.monotonicMs() - countedMs > COUNTED_MS) {
      countedMs = clock.monotonicMs();
      await addGrown(cluster, lines, countedMs).catch(() => {}); // the reader says so
    }
    for (const line of lines.values()) {
      for (const message of line.ahead.splice(0)) {
        if (signal.aborted) return;
        yield { ...message, deliveries: 1 };
      }
    }
  }
}

/** A topic may grow while it is read: its new partitions are read from their beginning. */
async function addGrown(cluster: KafkaCluster, lines: Map<number, KafkaLine>, nowMs: number): Promise<void> {
  await cluster.refresh();
  const grown = shardsOf(cluster).filter((shard) => !lines.has(shard));
  for (const [shard, first] of await cluster.offsets(grown, "first")) lines.set(shard, tailLine(shard, first, nowMs));
}
