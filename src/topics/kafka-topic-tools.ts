/** What people's tools ask and change of topics on Kafka or Redpanda. */
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { service, within } from "../lifecycle.ts";
import { refusalOf } from "./ask-kafka.ts";
import {
  type Admin,
  createKafka,
  isPassing,
  isRefusal,
  type Kafka,
  KafkaCluster,
  kafkaErrorType,
  OWN_SETTING,
  TOPIC_RESOURCE,
} from "./kafka-client.ts";
import type { KafkaConnection } from "./kafka-connection.ts";
import { endsOnKafka } from "./kafka-ends.ts";
import { idsOfReaders, namesOfGroups, placesOfGroup } from "./kafka-groups.ts";
import { lagOnKafka } from "./kafka-lag.ts";
import { MOVED_BY_HAND } from "./kafka-marks.ts";
import { groupIdOf } from "./kafka-membership.ts";
import { probeKafka } from "./kafka-probe.ts";
import { createKafkaTopic, growKafkaTopic, kafkaConfigOf, partitionsOf } from "./kafka-topics.ts";
import type { Places } from "./topic-log.ts";
import type { GroupFacts, TopicFacts, TopicTools } from "./topic-tools.ts";

const ANSWER_MS = 5_000;
const CLOSE_MS = 1_000;
/** A forced move has to come between the members' leaving and their joining again. */
const MOVE_TRIES = 20;
const AGAIN_MS = 50;

export function createKafkaTopicTools(connection: KafkaConnection, context: Context): TopicTools {
  const { clock } = context;
  let started: { kafka: Kafka; admin: Admin } | undefined;
  const live = () => {
    if (started === undefined) throw new VigilaneError("STOPPED", "the topics' tools are not started");
    return started;
  };

  const base = service("tools of the topics on Kafka", context, async (acquired) => {
    await probeKafka(connection, clock); // tells what is wrong, where kafkajs says that nobody answers
    const { kafka, hangUp } = createKafka(connection, "vigilane-tools", context);
    acquired.add(kafka, "connections", hangUp);
    const admin = acquired.add(kafka.admin(), "admin client", (a) =>
      within(clock, CLOSE_MS, "the admin client", () => a.disconnect()).catch(() => {}),
    );
    const connected = within(clock, ANSWER_MS, "the broker's answer", () => admin.connect());
    await connected.catch((error: unknown) => {
      throw inWords(error, `no broker answers at ${connection.brokers.join(",")}`);
    });
    started = { kafka, admin };
    acquired.add(started, "being started", () => {
      started = undefined;
    });
  });

  function inWords(error: unknown, what: string): unknown {
    if (error instanceof VigilaneError && error.code !== "TIMED_OUT") return error;
    const why = `${what}: ${error instanceof Error ? error.message : String(error)}`;
    if (isRefusal(error)) return new VigilaneError("BROKER_REFUSED", why, { cause: error });
    const notLetIn = refusalOf(error, connection);
    if (notLetIn !== undefined) return notLetIn;
    if (kafkaErrorType(error) !== undefined) return new Error(why, { cause: error });
    return new VigilaneError("BROKER_AWAY", why, { cause: error });
  }

  /** Again, for a while, where the broker says that it passes; every request of ours may be repeated. */
  async function orInWords<T>(what: string, work: () => Promise<T>): Promise<T> {
    const untilMs = clock.monotonicMs() + ANSWER_MS;
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!isPassing(error) || clock.monotonicMs() > untilMs) throw inWords(error, what);
        await clock.sleep(AGAIN_MS);
      }
    }
  }

  /** The topic's own brokers for one question. */
  async function ask<T>(topic: string, question: (cluster: KafkaCluster, shards: number[]) => Promise<T>): Promise<T> {
    const { kafka, admin } = live();
    if ((await orInWords(topic, () => partitionsOf(admin, topic))) === 0) {
      throw new VigilaneError("TOPIC_UNKNOWN", `there is no topic ${topic}`);
    }
    const cluster = new KafkaCluster(kafka, topic);
    try {
      return await orInWords(topic, async () => {
        await cluster.connect();
        return question(cluster, numbersTo(cluster.partitions()));
      });
    } finally {
      await within(clock, CLOSE_MS, "the brokers", () => cluster.close()).catch(() => {});
    }
  }

  /** A group of ours on this topic, else one of another program by its own name. */
  async function idOf(topic: string, group: string): Promise<string> {
    const ids = await idsOfReaders(live().admin);
    const id = [groupIdOf(topic, group), group].find((each) => ids.includes(each));
    if (id !== undefined) return id;
    throw new VigilaneError("TOPIC_UNKNOWN", `no group ${group} has read ${topic}`);
  }

  return {
    ...base,

    brokers: () => orInWords("cluster", async () => (await live().admin.describeCluster()).brokers.length),

    topics: () =>
      orInWords("topics", async () =>
        (await live().admin.listTopics()).filter((topic) => !topic.startsWith("__")).sort(),
      ),

    describe: (topic) =>
      orInWords(topic, async (): Promise<TopicFacts | null> => {
        const { admin } = live();
        const shards = await partitionsOf(admin, topic);
        if (shards === 0) return null;
        const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
        const copies = (topics[0]?.partitions ?? []).map(({ replicas }) => replicas.length);
        const offsets = await admin.fetchTopicOffsets(topic);
        const messages = offsets.reduce((sum, { high, low }) => sum + Number(BigInt(high) - BigInt(low)), 0);
        return {
          ...{ topic, shards, messages, bytes: null, copies: Math.min(...copies) },
          ...(await settingsOfTopic(admin, topic)),
        };
      }),

    configOf: kafkaConfigOf,
    create: (wish) => orInWords(wish.topic, () => createKafkaTopic(live().admin, wish)),

    grow: (topic, shards) =>
      orInWords(topic, async () => {
        const { admin } = live();
        if ((await partitionsOf(admin, topic)) < shards) await growKafkaTopic(admin, topic, shards);
      }),

    configure: (topic, config) =>
      orInWords(topic, async () => {
        const { admin } = live();
        // The request takes back what it does not name.
        const all = { ...(await settingsOfTopic(admin, topic)).config, ...config };
        const configEntries = Object.entries(all).map(([name, value]) => ({ name, value }));
        const resources = [{ type: TOPIC_RESOURCE, name: topic, configEntries }];
        await admin.alterConfigs({ validateOnly: false, resources });
      }),

    groups: (topic) =>
      ask(topic, async (cluster, shards) => {
        const found: GroupFacts[] = [];
        for (const { groupId, group, consumers } of await namesOfGroups(live().admin, topic)) {
          const places = await placesOfGroup(cluster, topic, groupId, shards);
          if (places === null) continue;
          found.push({ group, consumers, places, lag: await lagOnKafka(cluster, topic, groupId, clock) });
        }
        return found.sort((a, b) => (a.group < b.group ? -1 : 1));
      }),

    placesAt: (topic, at) =>
      ask(topic, async (cluster, shards): Promise<Places> => {
        if (at === "latest") return (await endsOnKafka(cluster, topic)).map(String);
        const found = await cluster.offsets(shards, at === "earliest" ? "first" : { atMs: at });
        const next = await cluster.offsets(shards, "next");
        const before = (shard: number) => {
          const offset = found.get(shard) ?? -1n;
          return (offset < 0n ? (next.get(shard) ?? 0n) : offset) - 1n;
        };
        return shards.map((shard) => String(before(shard)));
      }),

    move: (topic, group, places, { force = false } = {}) =>
      ask(topic, async (cluster) => {
        const groupId = await idOf(topic, group);
        const coordinator = await cluster.coordinator(groupId);
        // Other programs have metadata of their own.
        const metadata = groupId === groupIdOf(topic, group) ? MOVED_BY_HAND : "";
        const partitions = places.map((place, partition) => ({
          ...{ partition, offset: String(BigInt(place) + 1n), metadata },
        }));
        for (let tries = 1; ; tries += 1) {
          const { groups } = await coordinator.describeGroups({ groupIds: [groupId] });
          const members = groups.flatMap((each) => each.members);
          if (members.length > 0 && (!force || tries === MOVE_TRIES)) throw consuming(group, members);
          for (const { memberId } of members) {
            await coordinator.leaveGroup({ groupId, memberId }).catch(() => {}); // gone by itself meanwhile
          }
          try {
            // Of no member and no generation: taken only while the group is empty.
            const nobody = { groupId, groupGenerationId: -1, memberId: "" };
            await coordinator.offsetCommit({ ...nobody, topics: [{ topic, partitions }] });
            return;
          } catch (error) {
            const again = ["UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS"];
            if (!again.includes(kafkaErrorType(error) ?? "") || tries === MOVE_TRIES) throw error;
            if (force) await clock.sleep(AGAIN_MS);
          }
        }
      }),

    deleteUpTo: (topic, places) =>
      ask(topic, async () => {
        const { admin } = live();
        const offsets = await admin.fetchTopicOffsets(topic); // besides: kafkajs has to know who leads
        const partitions = places
          .map((place, partition) => ({ partition, offset: BigInt(place) + 1n }))
          .filter(({ partition, offset }) => offset > BigInt(offsets.find((o) => o.partition === partition)?.low ?? 0));
        if (partitions.length === 0) return;
        const upTo = partitions.map(({ partition, offset }) => ({ partition, offset: String(offset) }));
        await admin.deleteTopicRecords({ topic, partitions: upTo });
      }),
  };
}

const numbersTo = (count: number) => Array.from({ length: count }, (_, number) => number);

/** `config`: what the topic itself says; what it has from its broker is not its own. `known`: what there is to be set at all. */
async function settingsOfTopic(
  admin: Admin,
  topic: string,
): Promise<{ config: Record<string, string>; known: string[] }> {
  const { resources } = await admin.describeConfigs({
    ...{ includeSynonyms: false, resources: [{ type: TOPIC_RESOURCE, name: topic }] },
  });
  const entries = resources.flatMap(({ configEntries }) => configEntries);
  const own = entries.filter((entry) => entry.configSource === OWN_SETTING && !entry.isSensitive);
  return {
    config: Object.fromEntries(own.map(({ configName, configValue }) => [configName, configValue])),
    known: entries.map(({ configName }) => configName),
  };
}

function consuming(group: string, members: readonly { clientId: string }[]): VigilaneError {
  const names = members.map(({ clientId }) => clientId).join(", ");
  return new VigilaneError("GROUP_CONSUMING", `the group ${group} is consuming: ${names}`);
}
