/** What a Kafka topic has behind given places, for readers of committed messages, to its present end. */
import type { KafkaCluster } from "./kafka-client.ts";
import { look } from "./kafka-ends.ts";
import { readableOf } from "./kafka-records.ts";

/** Partition → offset of the last message before the place; a partition that is not named: no place is known. */
export type PartitionEnds = Readonly<Record<string, string>>;

/** The present end of each partition, without reading. Rejects with kafkajs' errors, as all here. */
export async function presentEnds(cluster: KafkaCluster): Promise<PartitionEnds> {
  return endsBefore(await cluster.offsets(await shardsOf(cluster), "next"));
}

/** A broker that holds a client back answers with nothing, and only the next question with something. */
const EMPTY_ANSWERS = 3;

/**
 * `each` hears every value, in no certain order; resolves with where the topic ended. A partition without a place is read from
 * `sinceMs` on, by the times of its messages.
 */
export async function readBehind(
  cluster: KafkaCluster,
  topic: string,
  { places, sinceMs }: { places: PartitionEnds; sinceMs: number },
  each: (value: Buffer) => void,
): Promise<PartitionEnds> {
  const shards = await shardsOf(cluster);
  const nexts = await cluster.offsets(shards, "next");
  const firsts = await cluster.offsets(shards, "first");
  const unplaced = shards.filter((shard) => places[shard] === undefined);
  const since = await cluster.offsets(sinceMs > 0 ? unplaced : [], { atMs: sinceMs });
  // One after the other: kafkajs opens a connection for each of several requests that find none.
  for (const shard of shards) {
    const [first, next] = [firsts.get(shard) ?? 0n, nexts.get(shard) ?? 0n];
    const late = since.get(shard) ?? 0n;
    const place = places[shard] ?? (late < 0n ? next : late) - 1n; // −1: there is none as late
    const behind = BigInt(place) + 1n;
    let empty = 0;
    for (let at = behind > first ? behind : first; at < next && empty < EMPTY_ANSWERS; ) {
      const { records, next: seen } = readableOf(await look(cluster, topic, shard, at), at);
      for (const { offset, value } of records) if (BigInt(offset) < next && value) each(value);
      empty = seen === at ? empty + 1 : 0; // to the last: deleted or compacted away meanwhile
      at = seen;
    }
  }
  return endsBefore(nexts);
}

const endsBefore = (nexts: ReadonlyMap<number, bigint>): PartitionEnds =>
  Object.fromEntries([...nexts].map(([shard, next]) => [String(shard), String(next - 1n)]));

async function shardsOf(cluster: KafkaCluster): Promise<number[]> {
  await cluster.refresh();
  return Array.from({ length: cluster.partitions() }, (_, shard) => shard);
}
