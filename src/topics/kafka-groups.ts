/** The consumer groups of a Kafka topic, ours and those of other programs, without being a member of one. */
import type { Admin, KafkaCluster } from "./kafka-client.ts";
import { marksOf } from "./kafka-marks.ts";
import { groupIdOf } from "./kafka-membership.ts";
import type { Places } from "./topic-log.ts";

/** Of the groups that are no readers: they hold the positions of write-backs (kafka-outbox-transfer.ts), which nobody may move. */
export const POSITION_GROUPS = "vigilane-outbox-";

export interface NamedGroup {
  /** Kafka's. */
  groupId: string;
  /** What we call it: `bridge` for `bridge.detection-results`; another program's by its own name. */
  group: string;
  /** Names of its members' connections. */
  consumers: string[];
}

export async function idsOfReaders(admin: Admin): Promise<string[]> {
  const { groups } = await admin.listGroups();
  return groups.map(({ groupId }) => groupId).filter((groupId) => !groupId.startsWith(POSITION_GROUPS));
}

/** Of all groups that there are, those that may have to do with this topic. */
export async function namesOfGroups(admin: Admin, topic: string): Promise<NamedGroup[]> {
  const ids = await idsOfReaders(admin);
  if (ids.length === 0) return [];
  const ending = groupIdOf(topic, "");
  const { groups } = await admin.describeGroups(ids);
  return groups.map(({ groupId, members }) => ({
    groupId,
    group: groupId.endsWith(ending) && groupId !== ending ? groupId.slice(0, -ending.length) : groupId,
    consumers: members.map(({ clientId }) => clientId).sort(),
  }));
}

/** Null: the group has never committed anything of this topic. Partitions of which it has not are told from their beginning. */
export async function placesOfGroup(
  cluster: KafkaCluster,
  topic: string,
  groupId: string,
  shards: readonly number[],
): Promise<Places | null> {
  const coordinator = await cluster.coordinator(groupId);
  const topics = [{ topic, partitions: shards.map((partition) => ({ partition })) }];
  const { responses } = await coordinator.offsetFetch({ groupId, topics });
  const committed = new Map(
    responses
      .flatMap(({ partitions }) => partitions)
      .filter(({ offset }) => BigInt(offset) >= 0n)
      .map(({ partition, offset, metadata }) => [partition, marksOf(BigInt(offset), metadata).position]),
  );
  if (committed.size === 0) return null;
  const firsts = await cluster.offsets(shards, "first");
  return shards.map((shard) => String((committed.get(shard) ?? firsts.get(shard) ?? 0n) - 1n));
}
