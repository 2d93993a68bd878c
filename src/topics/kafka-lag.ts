/** How far a group is behind on a Kafka topic, in messages and in time, without being a member of it. */
import type { Clock } from "../context.ts";
import { type KafkaCluster, kafkaErrorType } from "./kafka-client.ts";
import { look } from "./kafka-ends.ts";
import { marksOf } from "./kafka-marks.ts";
import { readableOf } from "./kafka-records.ts";
import type { Lag } from "./topic-log.ts";

/** A group that nobody has joined yet has everything before it. Rejects with kafkajs' errors. */
export async function lagOnKafka(
  cluster: KafkaCluster,
  topic: string,
  groupId: string,
  { nowMs }: Pick<Clock, "nowMs">,
): Promise<Lag> {
  await cluster.refresh();
  const shards = Array.from({ length: cluster.partitions() }, (_, shard) => shard);
  const coordinator = await cluster.coordinator(groupId);
  const { responses } = await coordinator.offsetFetch({
    groupId,
    topics: [{ topic, partitions: shards.map((partition) => ({ partition })) }],
  });
  const [firsts, nexts] = [await cluster.offsets(shards, "first"), await cluster.offsets(shards, "next")];
  const lag: Lag = { messages: 0, oldestAgeMs: 0, lost: 0 };
  const behind = new Map<number, { from: bigint; next: bigint }>();
  for (const { partition, offset, metadata } of responses.flatMap(({ partitions }) => partitions)) {
    const [first, next] = [firsts.get(partition) ?? 0n, nexts.get(partition) ?? 0n];
    const marks = BigInt(offset) < 0n ? marksOf(first, null) : marksOf(BigInt(offset), metadata);
    const from = marks.position < first ? first : marks.position;
    lag.lost += marks.lost + Number(from - marks.position);
    if (next <= from) continue;
    lag.messages += Number(next - from);
    behind.set(partition, { from, next });
  }
  for (const { oldestAtMs, unseen } of await oldestOf(cluster, topic, behind)) {
    lag.messages -= unseen;
    if (oldestAtMs !== undefined) lag.oldestAgeMs = Math.max(lag.oldestAgeMs, nowMs() - oldestAtMs);
  }
  return lag;
}

/** When the first unread message of each partition was appended; `unseen`: offsets before it, or all, that no reader sees. */
async function oldestOf(
  cluster: KafkaCluster,
  topic: string,
  behind: ReadonlyMap<number, { from: bigint; next: bigint }>,
): Promise<{ oldestAtMs?: number; unseen: number }[]> {
  const found: { oldestAtMs?: number; unseen: number }[] = [];
  for (const [shard, { from, next }] of behind) {
    const part = await look(cluster, topic, shard, from).catch((error: unknown) => {
      if (kafkaErrorType(error) === "OFFSET_OUT_OF_RANGE") return undefined; // trimmed just now
      throw error;
    });
    if (!part) continue;
    const { records, next: seen } = readableOf(part, from);
    const [oldest] = records;
    if (oldest) found.push({ oldestAtMs: Number(oldest.timestamp), unseen: Number(BigInt(oldest.offset) - from) });
    else if (seen >= next) found.push({ unseen: Number(next - from) });
  }
  return found;
}
