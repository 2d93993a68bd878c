/** What people's tools ask and change of the topics on Redis Streams. */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { service } from "../lifecycle.ts";
import { connectStoreSoon } from "../store.ts";
import { scripts } from "./redis-scripts.ts";
import { endsOf } from "./redis-tail.ts";
import { groupKey, metaKey, type RedisTopicSettings, streamKey, topicKey } from "./redis-topic-keys.ts";
import type { Places } from "./topic-log.ts";
import type { GroupFacts, TopicTools } from "./topic-tools.ts";

const SCANNED_AT_ONCE = 1_000;

const Three = z.tuple([z.number(), z.number(), z.number()]);
const MoveReply = z.tuple([z.enum(["ok", "unknown", "consuming"])]).rest(z.string());

export function createRedisTopicTools(
  { redisUrl, prefix = "vl:topic:" }: Pick<RedisTopicSettings, "redisUrl" | "prefix">,
  context: Context,
): TopicTools {
  let started: Redis | undefined;
  const live = (): Redis => {
    if (started === undefined) throw new VigilaneError("STOPPED", "the topics' tools are not started");
    return started;
  };

  const base = service("tools of the topics on Redis", context, async (acquired, signal) => {
    started = acquired.add(await connectStoreSoon(redisUrl, context, signal), "connection", (redis) => {
      started = undefined;
      redis.disconnect();
    });
  });

  async function shardsOf(topic: string): Promise<number> {
    const shards = Number((await live().hget(metaKey(topicKey(prefix, topic)), "shards")) ?? 0);
    if (shards === 0) throw new VigilaneError("TOPIC_UNKNOWN", `there is no topic ${topic}`);
    return shards;
  }
  const grow = async (topic: string, shards: number) => {
    const meta = metaKey(topicKey(prefix, topic));
    if (Number((await live().hget(meta, "shards")) ?? 0) < shards) await live().hset(meta, "shards", shards);
  };

  return {
    ...base,

    brokers: async () => 1,

    async topics() {
      const found = new Set<string>();
      let cursor = "0";
      do {
        const pattern = metaKey(`${prefix.replaceAll(/[*?[\]\\]/g, "\\$&")}*`);
        const [next, keys] = await live().scan(cursor, "MATCH", pattern, "COUNT", SCANNED_AT_ONCE);
        for (const key of keys) found.add(key.slice(prefix.length, -metaKey("").length));
        cursor = next;
      } while (cursor !== "0");
      return [...found].filter((topic) => !topic.includes(":")).sort();
    },

    async describe(topic) {
      const key = topicKey(prefix, topic);
      const shards = Number((await live().hget(metaKey(key), "shards")) ?? 0);
      if (shards === 0) return null;
      const facts = { topic, shards, copies: 1, messages: 0, bytes: 0, config: null, known: null };
      for (let shard = 0; shard < shards; shard += 1) {
        facts.messages += await live().xlen(streamKey(key, shard));
        facts.bytes += (await live().memory("USAGE", streamKey(key, shard))) ?? 0;
      }
      return facts;
    },

    // Kept as the settings of the running roles say, which trim it.
    configOf: () => null,
    configure: async () => {},
    create: ({ topic, shards }) => grow(topic, shards),
    grow,

    async groups(topic) {
      const shards = await shardsOf(topic);
      const key = topicKey(prefix, topic);
      const [seconds, micros] = await live().time();
      const nowMs = Number(seconds) * 1_000 + Number(micros) / 1_000;
      const found: GroupFacts[] = [];
      for (const group of (await live().smembers(`${key}:groups`)).sort()) {
        const row = await live().hgetall(groupKey(key, group));
        const places = Array.from({ length: shards }, (_, shard) => row[`${shard}:pos`] ?? "0-0");
        const consumers = await live().zrangebyscore(`${groupKey(key, group)}:members`, `(${nowMs}`, "+inf");
        const [messages, oldestAgeMs, lost] = Three.parse(
          await scripts.lag.run(live(), [key, groupKey(key, group)], []),
        );
        found.push({ group, consumers: consumers.sort(), places, lag: { messages, oldestAgeMs, lost } });
      }
      return found;
    },

    async placesAt(topic, at): Promise<Places> {
      const shards = await shardsOf(topic);
      const key = topicKey(prefix, topic);
      const ends = endsOf(await live().hgetall(metaKey(key)), shards);
      if (at === "latest") return ends;
      const from = at === "earliest" ? "-" : `${Math.max(0, Math.ceil(at))}-0`;
      const places: string[] = [];
      for (const [shard, end] of ends.entries()) {
        const [first] = await live().xrange(streamKey(key, shard), from, "+", "COUNT", 1);
        const [ms, number] = (first?.[0] ?? "").split("-");
        places.push(number === undefined ? end : `${ms}-${Number(number) - 1}`);
      }
      return places;
    },

    async move(topic, group, places, { force = false } = {}) {
      await shardsOf(topic);
      const key = topicKey(prefix, topic);
      const args = [force ? "1" : "0", ...places];
      const [answer, ...names] = MoveReply.parse(await scripts.move.run(live(), [key, groupKey(key, group)], args));
      if (answer === "unknown") throw new VigilaneError("TOPIC_UNKNOWN", `no group ${group} has read ${topic}`);
      if (answer === "consuming") {
        throw new VigilaneError("GROUP_CONSUMING", `the group ${group} is consuming: ${names.join(", ")}`);
      }
    },

    async deleteUpTo(topic, places) {
      await shardsOf(topic);
      await scripts.delete.run(live(), [topicKey(prefix, topic)], [...places]);
    },
  };
}
