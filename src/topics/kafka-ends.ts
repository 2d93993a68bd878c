/** Where a Kafka topic ends for its readers: its last readable message, not the end of a transaction behind it. */
import type { KafkaCluster } from "./kafka-client.ts";
import { type FetchedPartition, readableOf } from "./kafka-records.ts";

const FIRST_WIDTH = 8n;
const WIDER = 16n;
const LOOK_BYTES = 1024 * 1024;

/** One offset a partition; the one before the first (−1 or more): nothing is there to read. Rejects with kafkajs' errors. */
export async function endsOnKafka(cluster: KafkaCluster, topic: string): Promise<bigint[]> {
  await cluster.refresh();
  const shards = Array.from({ length: cluster.partitions() }, (_, shard) => shard);
  const nexts = await cluster.offsets(shards, "next");
  const firsts = await cluster.offsets(shards, "first");
  const ends: bigint[] = [];
  // One after the other: kafkajs opens a connection for each of several requests that find none.
  for (const shard of shards) {
    ends.push(await lastReadable(cluster, topic, shard, firsts.get(shard) ?? 0n, nexts.get(shard) ?? 0n));
  }
  return ends;
}

async function lastReadable(cluster: KafkaCluster, topic: string, shard: number, first: bigint, next: bigint) {
  for (let width = FIRST_WIDTH; ; width *= WIDER) {
    const from = next - width > first ? next - width : first;
    let last: bigint | undefined;
    for (let at = from; at < next; ) {
      const part = await look(cluster, topic, shard, at);
      const { records, next: seen } = readableOf(part, at);
      for (const { offset } of records) if (BigInt(offset) < next) last = BigInt(offset);
      if (seen === at) break; // deleted or compacted away meanwhile
      at = seen;
    }
    if (last !== undefined) return last;
    if (from === first) return first - 1n;
  }
}

/** What a partition has from an offset on, up to 1 MiB; nothing is waited for. */
export async function look(
  cluster: KafkaCluster,
  topic: string,
  shard: number,
  from: bigint,
): Promise<FetchedPartition> {
  const [leader = ""] = cluster.leaders([shard]).keys();
  const broker = await cluster.broker(leader);
  const answer = (await broker.fetch({
    ...{ isolationLevel: 1, maxWaitTime: 0, minBytes: 0, maxBytes: LOOK_BYTES },
    topics: [{ topic, partitions: [{ partition: shard, fetchOffset: String(from), maxBytes: LOOK_BYTES }] }],
  })) as { responses: { partitions: FetchedPartition[] }[] };
  return answer.responses.flatMap(({ partitions }) => partitions)[0] ?? { partition: shard, messages: [] };
}
