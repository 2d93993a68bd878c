/**
 * A consumer's place in its group, by Kafka's own protocol (join, sync, heartbeat, leave): which shards it owns, and the
 * generation that fences its commits. A group on Kafka is one of ours on one topic: `<group>.<topic>`.
 */
import { randomUUID } from "node:crypto";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { assignPartitions } from "./kafka-assignment.ts";
import { AssignerProtocol, type KafkaBroker, type KafkaCluster, kafkaErrorType } from "./kafka-client.ts";
import { type KafkaLine, newKafkaLine } from "./kafka-line.ts";
import { type Marks, MOVED_BY_HAND, marksOf, marksToMetadata, seekBack } from "./kafka-marks.ts";
import type { NotedPlaces, ReadPlaces } from "./read-places.ts";

const { MemberAssignment, MemberMetadata } = AssignerProtocol;
/** The name of our way of sharing, which all members of a group must know. */
const PROTOCOL = "vigilane";
/** How long the others may take to end what is out (DRAIN_MS of kafka-subscription.ts) and join again. */
const REBALANCE_MS = 7_000;

export const groupIdOf = (topic: string, group: string) => `${group}.${topic}`;
/** What a consumer's connections are called: by it a restarted consumer finds what its dead namesake has left. */
export const clientIdOf = (consumer: string) => `vigilane-${consumer}`;

export interface KafkaMemberOf {
  topic: string;
  group: string;
  consumer: string;
  from: "earliest" | "latest";
  /** How long after its last heartbeat a consumer's shards go to others, ms. Brokers want 6,000 at least by default. */
  sessionMs: number;
  /** Where the effects of reading end in the store. Undefined: nobody asks. */
  places: ReadPlaces | undefined;
}

const NOTHING_NOTED: NotedPlaces = { run: "", before: new Map(), now: new Map() };

interface Seat {
  memberId: string;
  generation: number;
  leader: boolean;
  /** Partitions that the topic had. */
  partitions: number;
  /** Those that are this member's. */
  shards: readonly number[];
}

export class KafkaMembership {
  /** The shards owned now. Whoever awaited something looks again whether its line is still the one here. */
  readonly lines = new Map<number, KafkaLine>();
  readonly #of: KafkaMemberOf;
  readonly #groupId: string;
  readonly #cluster: KafkaCluster;
  readonly #context: Context;
  #seat: Seat | undefined;
  /** Given by the coordinator; kept over rebalances. */
  #memberId = "";
  #tookOver = false;

  constructor(cluster: KafkaCluster, of: KafkaMemberOf, context: Context) {
    this.#cluster = cluster;
    this.#of = of;
    this.#context = context;
    this.#groupId = groupIdOf(of.topic, of.group);
  }

  get joined(): boolean {
    return this.#seat !== undefined;
  }

  /** Joins, or joins again, and brings `lines` up to date. Waits for the other members. Rejects when it is to be tried again. */
  async join(): Promise<void> {
    const { topic, sessionMs } = this.#of;
    const coordinator = await this.#cluster.coordinator(this.#groupId);
    if (!this.#tookOver) await this.#removeNamesake(coordinator);
    this.#tookOver = true;
    const userData = Buffer.from(JSON.stringify([...this.lines.keys()]));
    const before = this.#seat;
    const joined = await this.#orForget(
      coordinator.joinGroup({
        ...{
          groupId: this.#groupId,
          sessionTimeout: sessionMs,
          rebalanceTimeout: REBALANCE_MS,
          memberId: this.#memberId,
        },
        groupProtocols: [
          { name: PROTOCOL, metadata: MemberMetadata.encode({ version: 0, topics: [topic], userData }) },
        ],
      }),
    );
    const { memberId, generationId } = joined;
    // A generation that was missed: somebody else may have had our shards in it.
    const continuous =
      memberId === before?.memberId && (generationId === before.generation || generationId === before.generation + 1);
    this.#memberId = memberId;
    this.#seat = undefined;
    if (!continuous) this.lines.clear();
    const leader = joined.leaderId === memberId;
    await this.#cluster.refresh();
    const partitions = this.#cluster.partitions();
    const { memberAssignment } = await this.#orForget(
      coordinator.syncGroup({
        ...{ groupId: this.#groupId, generationId, memberId },
        groupAssignment: leader ? this.#assign(joined.members, partitions) : [],
      }),
    );
    const shards = MemberAssignment.decode(memberAssignment)?.assignment[topic] ?? [];
    for (const shard of this.lines.keys()) if (!shards.includes(shard)) this.lines.delete(shard);
    this.#seat = { memberId, generation: generationId, leader, partitions, shards };
    await this.begin();
  }

  /** "rejoin": the group is about to share anew. */
  async heartbeat(): Promise<"well" | "rejoin"> {
    const seat = this.#seat;
    if (seat === undefined) return "rejoin";
    try {
      const coordinator = await this.#cluster.coordinator(this.#groupId);
      const { memberId, generation } = seat;
      await coordinator.heartbeat({ groupId: this.#groupId, groupGenerationId: generation, memberId });
      return "well";
    } catch (error) {
      if (this.#lostSeat(error)) return "rejoin";
      if (kafkaErrorType(error) === "REBALANCE_IN_PROGRESS") return "rejoin";
      throw error;
    }
  }

  /** Whether the topic has grown since the shards were shared; the leader of the group joins again for it. */
  async hasGrown(): Promise<boolean> {
    await this.#cluster.refresh();
    const seat = this.#seat;
    return seat?.leader === true && this.#cluster.partitions() > seat.partitions;
  }

  /**
   * Commits marks of owned shards. Rejects with OWNERSHIP_LOST when the group has another generation by now; with another
   * error when it is to be tried again.
   */
  async commit(marks: ReadonlyMap<number, Marks>): Promise<void> {
    const seat = this.#seat;
    if (seat === undefined) throw new Error(`${this.#groupId} is being shared anew`);
    try {
      const coordinator = await this.#cluster.coordinator(this.#groupId);
      await coordinator.offsetCommit({
        ...{ groupId: this.#groupId, groupGenerationId: seat.generation, memberId: seat.memberId },
        topics: [{ topic: this.#of.topic, partitions: [...marks].map(([shard, each]) => toCommit(shard, each)) }],
      });
    } catch (error) {
      if (this.#seat === seat && this.#lostSeat(error)) {
        throw new VigilaneError("OWNERSHIP_LOST", `${this.#groupId} has shared its shards anew`, { cause: error });
      }
      throw error;
    }
  }

  /** Gives up everything at once, so that another consumer need not wait for the session's end. */
  async leave(): Promise<void> {
    this.lines.clear();
    this.#seat = undefined;
    if (this.#memberId === "") return;
    const coordinator = await this.#cluster.coordinator(this.#groupId);
    await coordinator.leaveGroup({ groupId: this.#groupId, memberId: this.#memberId });
  }

  /** An earlier consumer of this name, killed or cut off, gives way at once: the coordinator would wait for its session's end. */
  async #removeNamesake(coordinator: KafkaBroker): Promise<void> {
    const { groups } = await coordinator.describeGroups({ groupIds: [this.#groupId] });
    const clientId = clientIdOf(this.#of.consumer);
    const namesakes = groups.flatMap(({ members }) => members).filter((member) => member.clientId === clientId);
    for (const { memberId } of namesakes) {
      this.#context.log.info({ group: this.#groupId, memberId }, "an earlier consumer of this name is replaced");
      await coordinator.leaveGroup({ groupId: this.#groupId, memberId }).catch(() => {}); // gone by itself meanwhile
    }
  }

  #assign(members: readonly { memberId: string; memberMetadata: Buffer }[], partitions: number) {
    const owners = members.map(({ memberId, memberMetadata }) => ({ memberId, owned: ownedOf(memberMetadata) }));
    return [...assignPartitions(owners, partitions)].map(([memberId, shards]) => ({
      memberId,
      memberAssignment: MemberAssignment.encode({
        ...{ version: 0, userData: Buffer.alloc(0) },
        assignment: { [this.#of.topic]: shards },
      }),
    }));
  }

  /** The group's number, as the store knows it. */
  get groupId(): string {
    return this.#groupId;
  }

  /**
   * Lines of the shards that have none (just taken, or dropped), each from where the group stands, or from an earlier place where
   * the store has forgotten what came of those behind it. Notes where that is. While the store cannot be
   * asked there are no lines: again later.
   */
  async begin(): Promise<void> {
    const seat = this.#seat;
    const shards = seat?.shards.filter((shard) => !this.lines.has(shard)) ?? [];
    if (shards.length === 0) return;
    const { topic, places } = this.#of;
    const noted = places ? await places.look(this.#groupId) : NOTHING_NOTED;
    if (noted === undefined) return;
    const coordinator = await this.#cluster.coordinator(this.#groupId);
    const all = Array.from({ length: this.#cluster.partitions() }, (_, partition) => ({ partition }));
    const { responses } = await coordinator.offsetFetch({
      groupId: this.#groupId,
      topics: [{ topic, partitions: all }],
    });
    const committed = responses.flatMap(({ partitions }) => partitions).filter(({ offset }) => BigInt(offset) >= 0n);
    const known = new Map(
      committed.map(({ partition, offset, metadata }) => [partition, marksOf(BigInt(offset), metadata)]),
    );
    const moved = new Set(
      committed.filter(({ metadata }) => metadata === MOVED_BY_HAND).map(({ partition }) => partition),
    );
    const unknown = shards.filter((shard) => !known.has(shard));
    // A partition that came later, in a group that is there already, is read from its beginning.
    const which = known.size === 0 && this.#of.from === "latest" ? "next" : "first";
    const begun = new Map<number, Marks>();
    for (const [shard, position] of await this.#cluster.offsets(unknown, which)) {
      begun.set(shard, marksOf(position, null));
    }
    let again = 0;
    for (const shard of shards) {
      const [marks, place] = [known.get(shard), noted.before.get(shard)];
      if (marks === undefined || place === undefined || place >= marks.position || moved.has(shard)) continue;
      begun.set(shard, seekBack(marks, place));
      again += Number(marks.position - place);
    }
    if (again > 0)
      this.#context.log.warn(
        { group: this.#groupId, messages: again },
        "the store has forgotten what came of the newest messages; they are read again",
      );
    // The group first: a note of this run says that the group's position is to be believed.
    if (begun.size > 0) await this.commit(begun);
    const at = new Map(
      shards.flatMap((shard) => {
        const marks = begun.get(shard) ?? known.get(shard);
        return marks ? [[shard, marks] as const] : [];
      }),
    );
    const unnoted = [...at].filter(([shard, { position }]) => noted.now.get(shard) !== position);
    const positions = new Map(unnoted.map(([shard, { position }]) => [shard, position]));
    if (places && !(await places.noteSoon(this.#groupId, noted.run, positions))) return;
    if (this.#seat !== seat) return;
    const token = randomUUID();
    const nowMs = this.#context.clock.monotonicMs();
    for (const [shard, marks] of at) this.lines.set(shard, newKafkaLine(shard, token, marks, nowMs, noted.run));
  }

  /** The coordinator knows this member, or this generation, no more. */
  #lostSeat(error: unknown): boolean {
    const type = kafkaErrorType(error);
    if (type !== "UNKNOWN_MEMBER_ID" && type !== "ILLEGAL_GENERATION" && type !== "FENCED_INSTANCE_ID") return false;
    if (type !== "ILLEGAL_GENERATION") this.#memberId = "";
    this.#seat = undefined;
    this.lines.clear();
    return true;
  }

  async #orForget<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      this.#lostSeat(error);
      throw error;
    }
  }
}

const toCommit = (shard: number, marks: Marks) => ({
  partition: shard,
  offset: String(marks.position),
  metadata: marksToMetadata(marks),
});

function ownedOf(metadata: Buffer): number[] {
  try {
    const owned: unknown = JSON.parse(MemberMetadata.decode(metadata)?.userData.toString("utf8") ?? "[]");
    return Array.isArray(owned) ? owned.filter((shard) => typeof shard === "number") : [];
  } catch {
    return []; // a member of another version
  }
}
