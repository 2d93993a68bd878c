/** What a Kafka topic has behind given places, for readers of committed messages, to its present end. */
import type { KafkaCluster } from "./kafka-client.ts";
import { look } from "./kafka-ends.ts";
import { readableOf } from "./kafka-records.ts";

/** Partition → offset of the last message before the place; a partition that is not named: all of it is behind. */
export type PartitionEnds = Readonly<Record<string, string>>;

/** The present end of each partition, without reading. Rejects with kafkajs' errors, as all here. */
export async function presentEnds(cluster: KafkaCluster): Promise<PartitionEnds> {
  const nexts = await cluster.offsets(await shardsOf(cluster), "next");
  return Object.fromEntries([...nexts].map(([shard, next]) => [String(shard), String(next - 1n)]));
}

/** Values in no certain order, and where their topic ended. */
export async function readBehind(
  cluster: KafkaCluster,
  topic: string,
  places: PartitionEnds,
): Promise<{ values: Buffer[]; ends: PartitionEnds }> {
  const shards = await shardsOf(cluster);
  const nexts = await cluster.offsets(shards, "next");
  const firsts = await cluster.offsets(shards, "first");
  const values: Buffer[] = [];
  // One after the other: kafkajs opens a connection for each of several requests that find none.
  for (const shard of shards) {
    const [first, next] = [firsts.get(shard) ?? 0n, nexts.get(shard) ?? 0n];
    const behind = BigInt(places[shard] ?? -1) + 1n;
    for (let at = behind > first ? behind : first; at < next; ) {
      const { records, next: seen } = readableOf(await look(cluster, topic, shard, at), at);
      for (const { offset, value } of records) if (BigInt(offset) < next && value) values.push(value);
      if (seen === at) break; // deleted or compacted away meanwhile
      at = seen;
    }
  }
  return { values, ends: Object.fromEntries([...nexts].map(([shard, next]) => [String(shard), String(next - 1n)])) };
}

async function shardsOf(cluster: KafkaCluster): Promise<number[]> {
  await cluster.refresh();
  return Array.from({ length: cluster.partitions() }, (_, shard) => shard);
}
