/** What only the Redis topics promise: trimming, exactly-once appends, the outbox, a store that forgets, and their price. */
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { connectStore } from "../../src/store.ts";
import { createRedisOutboxTransfer } from "../../src/topics/outbox-transfer.ts";
import type { RedisTopicSettings } from "../../src/topics/redis-topic-keys.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { TopicReader } from "../support/topic-reader.ts";
import { keysOf, numbersOf, said, upTo } from "./topic-log-scene.ts";

const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };

async function topics(server: TestRedis, overrides: Partial<RedisTopicSettings> = {}) {
  const settings = { redisUrl: server.url, retentionMs: 3_600_000, maxBytesPerTopic: 1 << 28, shards: 2, leaseMs: 300 };
  const log = createRedisTopicLog({ ...settings, ...overrides }, context);
  onTestFinished(() => log.stop());
  await log.start();
  const admin = new Redis(server.url);
  admin.on("error", () => {});
  onTestFinished(() => admin.disconnect());
  const stored = async (topic: string) =>
    (await admin.xlen(`vl:topic:${topic}:0`)) + (await admin.xlen(`vl:topic:${topic}:1`));
  return {
    log,
    admin,
    stored,
    reader: (topic: string, group = "g") => new TopicReader(log, topic, { group, consumer: "c" }),
  };
}

test("a stop ends a start that waits for an absent store", { timeout: 3 * 5_000 }, async () => {
  const away = { redisUrl: "redis://127.0.0.1:1", retentionMs: 3_600_000, maxBytesPerTopic: 1 << 28 };
  const waits = Promise.withResolvers<void>();
  const heard = pino({ level: "warn" }, { write: (line) => line.includes("the store is away") && waits.resolve() });
  const log = createRedisTopicLog(away, { ...context, log: heard });
  const started = log.start();
  await waits.promise;
  await log.stop();
  await expect(started).rejects.toMatchObject({ code: "STOPPED" });
});

test.each(["is away", "has restarted"])(
  "a tail ends at once, also when the store %s",
  { timeout: 3 * 5_000 },
  async (which) => {
    const server = await startRedis();
    const away = Promise.withResolvers<void>();
    const heard = pino({ level: "warn" }, { write: (line) => line.includes("the store is away") && away.resolve() });
    const settings = { redisUrl: server.url, retentionMs: 3_600_000, maxBytesPerTopic: 1 << 28, shards: 2 };
    const log = createRedisTopicLog(settings, { ...context, log: heard });
    onTestFinished(() => log.stop());
    await log.start();
    await log.publish("x", [said("a", 0)]);
    const ending = new AbortController();
    const messages = log.tail("x", "earliest", ending.signal)[Symbol.asyncIterator]();
    expect(await messages.next()).toMatchObject({ done: false });
    const next = messages.next(); // blocks in the store
    await server.kill("SIGKILL");
    await away.promise;
    if (which === "has restarted") {
      await server.restart();
      await log.publish("y", [said("a", 1)]); // its connection is well again
    }
    ending.abort();
    expect(await next).toMatchObject({ done: true });
  },
);

describe("on a server of their own", () => {
  test("trimming by age passes a group that has gone, and tells it how many messages it lost", async () => {
    const { log, reader, stored } = await topics(await startRedis(), { retentionMs: 400 });
    const gone = reader("x");
    await log.publish(
      "x",
      keysOf(10).map((key) => said(key, 0)),
    );
    await gone.take(10);
    await gone.close();
    await log.publish(
      "x",
      keysOf(7).map((key) => said(key, 1)),
    );
    await expect.poll(() => stored("x"), { timeout: 15_000 }).toBe(0);
    expect(await log.lag("x", "g")).toEqual({ messages: 0, oldestAgeMs: 0, lost: 7 });
    await log.publish("x", [said("camera-1", 2)]);
    expect(await log.lag("x", "g")).toMatchObject({ messages: 1, lost: 7 });
    expect(numbersOf(await reader("x").take(1), "camera-1")).toEqual([2]);
    // Counted for good where the group has read on; still open in the other shard.
    expect(await log.lag("x", "g")).toEqual({ messages: 0, oldestAgeMs: 0, lost: 7 });
  });

  test("whoever visits the topics with other settings trims nothing", async () => {
    const server = await startRedis();
    const { log, stored } = await topics(server);
    await log.publish("x", [said("a", 0)]);
    const shorter = { retentionMs: 1, maxBytesPerTopic: 1 };
    const visitor = await topics(server, { ...shorter, trims: false });
    await visitor.log.publish("x", [said("a", 1)]);
    // Somebody who does keep topics within bounds, of another one: a sign that a round of trimming has passed.
    const keeper = await topics(server, shorter);
    await keeper.log.publish("y", [said("a", 0)]);
    await expect.poll(() => stored("y"), { timeout: 15_000 }).toBe(0);
    expect(await stored("x")).toBe(2);
  });

  test("a producer notices that its topic has grown", async () => {
    const server = await startRedis();
    let laterMs = 0;
    const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + laterMs };
    const settings = { redisUrl: server.url, retentionMs: 3_600_000, maxBytesPerTopic: 1 << 28, shards: 1 };
    const log = createRedisTopicLog(settings, { ...context, clock });
    onTestFinished(() => log.stop());
    await log.start();
    await log.publish("x", [said("a", 0)]);
    const { admin } = await topics(server);
    await admin.hset("vl:topic:x:meta", "shards", 4);
    const inNewShards = async () =>
      (await Promise.all([1, 2, 3].map((shard) => admin.xlen(`vl:topic:x:${shard}`)))).reduce((a, b) => a + b);
    const publish = () =>
      log.publish(
        "x",
        keysOf(20).map((key) => said(key, 0)),
      );
    await publish();
    expect(await inNewShards()).toBe(0); // it has counted just now
    laterMs = 11_000;
    await expect
      .poll(
        async () => {
          await publish();
          return await inNewShards();
        },
        { timeout: 15_000 },
      )
      .toBeGreaterThan(0);
  });

  test("trimming never passes a living group, neither by age nor by bytes", async () => {
    const { log, reader, stored } = await topics(await startRedis(), { retentionMs: 400, maxBytesPerTopic: 4_000 });
    const slow = reader("x");
    await log.publish(
      "x",
      upTo(50).map((n) => ({ key: "a", value: Buffer.from(`a ${n}`.padEnd(1_000, " ")) })),
    );
    const out = await slow.next();
    slow.pause();
    // Another topic of the same log is trimmed in the same round, after this one: a sign that the round is over.
    await log.publish("y", [said("a", 0)]);
    await expect.poll(() => stored("y"), { timeout: 15_000 }).toBe(0);
    expect(await stored("x")).toBe(50);
    await out.acknowledge();
    slow.resume();
    await slow.take(50 - out.messages.length);
    await expect.poll(() => stored("x"), { timeout: 15_000 }).toBe(0);
    expect((await log.lag("x", "g")).lost).toBe(0);
  });

  test("trimming by bytes keeps the newest", async () => {
    const { log, admin, stored } = await topics(await startRedis(), { maxBytesPerTopic: 100_000 });
    const value = (n: number) => Buffer.from(`k${n % 9} ${n}`.padEnd(1_000, " "));
    await log.publish(
      "x",
      upTo(500).map((n) => ({ key: `k${n % 9}`, value: value(n) })),
    );
    await expect.poll(() => stored("x"), { timeout: 15_000 }).toBeLessThan(100);
    expect(await stored("x")).toBeGreaterThan(30);
    const newest = await admin.xrevrange("vl:topic:x:0", "+", "-", "COUNT", 1);
    expect(newest).toHaveLength(1);
  });

  test("a store that has forgotten everything is begun anew, with what was published within the last seconds", async () => {
    const server = await startRedis({ appendonly: false });
    const { log, reader } = await topics(server);
    const consumer = reader("x");
    await log.publish("x", [said("a", 0)]);
    await consumer.take(1);
    await server.kill("SIGKILL");
    await server.restart();
    await log.publish("x", [said("a", 1)]);
    expect(numbersOf(await consumer.take(2), "a")).toEqual([0, 1]);
    expect(log.publishedAgain()).toBe(1);
  });

  test("a store that was emptied by hand is begun anew, with what was published within the last seconds", async () => {
    const { log, reader, admin } = await topics(await startRedis());
    const consumer = reader("x");
    await log.publish("x", [said("a", 0)]);
    await consumer.take(1);
    await admin.flushall();
    const next = consumer.take(2);
    await expect.poll(() => admin.exists("vl:topic:x:group:g"), { timeout: 15_000 }).toBe(1);
    await log.publish("x", [said("a", 1)]);
    expect(numbersOf(await next, "a")).toEqual([0, 1]);
  });

  test("where the store may forget its newest writes, a batch from before its restart is refused and comes again", async () => {
    const server = await startRedis({ appendfsync: "everysec" });
    const { log, reader } = await topics(server);
    const consumer = reader("x");
    await log.publish("x", [said("a", 0)]);
    const out = await consumer.next();
    await server.kill("SIGTERM"); // in order, so that the message itself stays
    await server.restart();
    await expect(out.acknowledge()).rejects.toMatchObject({ code: "OWNERSHIP_LOST" });
    expect(numbersOf(await consumer.take(1), "a")).toEqual([0]);
  });

  describe("a store that came back without its newest writes", () => {
    test("gets again, in order and each once, exactly what it has forgotten", async () => {
      const server = await startRedis({ appendfsync: "everysec" });
      const { log, reader, stored } = await topics(server);
      const consumer = reader("x");
      for (const n of upTo(10)) await log.publish("x", [said("a", n), said("b", n)]);
      expect(await consumer.take(20)).toHaveLength(20);
      const written = server.written();
      for (const n of upTo(10)) await log.publish("x", [said("a", 10 + n), said("b", 10 + n)]);
      await server.dieAsOf(written);
      const late = log.publish("x", [said("a", 20)]); // waits for the store, behind what is missing there
      await server.restart();
      await late;
      expect(await stored("x")).toBe(41);
      expect(log.publishedAgain()).toBe(20);
      const again = await consumer.until((messages) => messages.some(({ value }) => value.toString() === "a 20"));
      expect(numbersOf(again, "a").slice(-11)).toEqual(upTo(11).map((n) => 10 + n));
      await expect.poll(async () => (await log.lag("x", "g")).messages).toBe(0);
      expect((await log.lag("x", "g")).lost).toBe(0);
    });

    test("gets it also from a producer that has nothing new to publish", async () => {
      const server = await startRedis({ appendfsync: "everysec" });
      const { log, stored } = await topics(server);
      await log.publish("x", [said("a", 0)]);
      const written = server.written();
      await log.publish("x", [said("a", 1)]);
      await server.dieAsOf(written);
      await server.restart();
      await expect.poll(() => log.publishedAgain(), { timeout: 15_000 }).toBe(1);
      expect(await stored("x")).toBe(2);
    });

    test("that loses them twice in a row still gets all of them", async () => {
      const server = await startRedis({ appendfsync: "everysec" });
      const { log, stored, reader } = await topics(server);
      await log.publish("x", [said("a", 0)]);
      const written = server.written();
      for (let n = 1; n <= 30; n += 1) await log.publish("x", [said("a", n)]);
      await server.dieAsOf(written);
      await server.restart();
      await expect.poll(() => log.publishedAgain(), { timeout: 15_000 }).toBe(30);
      await server.dieAsOf(written);
      await server.restart();
      await expect.poll(() => log.publishedAgain(), { timeout: 15_000 }).toBe(60);
      expect(await stored("x")).toBe(31);
      expect(numbersOf(await reader("x").take(31), "a")).toEqual(upTo(31));
    });

    test("that lost nothing gets nothing twice", async () => {
      const server = await startRedis({ appendfsync: "everysec" });
      const { log, stored } = await topics(server);
      for (const n of upTo(5)) await log.publish("x", [said("a", n)]);
      await server.kill("SIGTERM"); // in order: nothing is forgotten
      await server.restart();
      await log.publish("x", [said("a", 5)]);
      expect(await stored("x")).toBe(6);
      expect(log.publishedAgain()).toBe(0);
    });

    test.each([
      ["as before", 0],
      ["set back by an hour", 3_600_000],
    ])("is read on by whoever had read beyond its end, its clock %s", async (_, aheadMs) => {
      const server = await startRedis({ appendfsync: "everysec" });
      const { log, admin } = await topics(server, { shards: 1 });
      await log.publish("x", [said("a", 0)]);
      const reading = new AbortController();
      onTestFinished(() => reading.abort());
      const seen: string[] = [];
      void (async () => {
        for await (const { value } of log.tail("x", "earliest", reading.signal)) seen.push(value.toString());
      })();
      const subscribed: string[] = [];
      const consumer = new TopicReader(log, "x", { group: "g", consumer: "c" });
      void consumer
        .until((messages) => {
          subscribed.splice(0, subscribed.length, ...messages.map(({ value }) => value.toString()));
          return false;
        })
        .catch(() => {});
      await expect.poll(() => [seen, subscribed]).toEqual([["a 0"], ["a 0"]]);
      const written = server.written();
      // The ids that a store gives out whose clock is so far ahead.
      await admin.hset("vl:topic:x:meta", "0:ms", Date.now() + aheadMs);
      await log.publish("x", [said("a", 1)]);
      await expect.poll(() => [seen, subscribed].map((all) => all.at(-1)), { timeout: 15_000 }).toEqual(["a 1", "a 1"]);
      await server.dieAsOf(written);
      await server.restart();
      for (let n = 2; seen.at(-1) === "a 1" || subscribed.at(-1) === "a 1"; n += 1) {
        expect(n).toBeLessThan(200);
        await log.publish("x", [said("a", n)]);
        await systemClock.sleep(100); // goes on publishing until both have noticed
      }
    });
  });

  test("a store that is full refuses what is published, but lets consumers finish, and trimming makes room", async () => {
    const server = await startRedis({ args: ["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"] });
    const { log, reader, stored } = await topics(server, { retentionMs: 1_000 });
    const consumer = reader("x");
    const value = Buffer.alloc(100_000);
    let published = 0;
    const full = (async () => {
      for (; ; published += 1) await log.publish("x", [{ key: `k${published % 9}`, value }]);
    })();
    await expect(full).rejects.toMatchObject({ retry: "later" });
    expect(await consumer.take(published)).toHaveLength(published);
    await expect.poll(() => stored("x"), { timeout: 15_000 }).toBe(0);
    await log.publish("x", [said("after", 1)]);
    expect(numbersOf(await consumer.take(1), "after")).toEqual([1]);
  });

  test("a store that refuses writes for a while costs nothing: the batch that is out can be ended after it", async () => {
    const server = await startRedis();
    const { log, reader, admin } = await topics(server);
    const consumer = reader("x");
    await log.publish("x", [said("a", 0)]);
    const out = await consumer.next();
    await admin.replicaof("127.0.0.1", 1); // a master that nobody can reach: read-only
    await expect(out.acknowledge()).rejects.toThrow(/READONLY/);
    await expect(log.publish("x", [said("a", 1)])).rejects.toMatchObject({ retry: "later" });
    await admin.replicaof("NO", "ONE");
    await out.acknowledge();
    await log.publish("x", [said("a", 2)]);
    expect(numbersOf(await consumer.take(1), "a")).toEqual([2]);
  });

  test("a store that stands still for longer than the leases takes nobody's shards away", async () => {
    const server = await startRedis();
    const { log, admin } = await topics(server);
    const consumers = ["a", "b"].map((consumer) => new TopicReader(log, "x", { group: "g", consumer }));
    const batches = consumers.map((consumer) => consumer.next());
    await log.publish(
      "x",
      keysOf(20).map((key) => said(key, 0)),
    );
    const out = await Promise.all(batches);
    await server.kill("SIGSTOP");
    await context.clock.sleep(1_000); // three leases: the length is the matter of this test
    await server.kill("SIGCONT");
    await admin.ping();
    const seen = async () => Number(await admin.hget("vl:topic:x:group:g", "seen"));
    const before = await seen();
    await expect.poll(seen).toBeGreaterThan(before + 150); // both have looked after their shards since
    await Promise.all(out.map((batch) => batch.acknowledge()));
    expect(await log.lag("x", "g")).toMatchObject({ messages: 0 });
  });
});

describe("on one server", () => {
  let server: TestRedis;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  test("a key with a lone surrogate comes out as it went in", async () => {
    const { log, reader } = await topics(server);
    await log.publish("surrogates", [{ key: "\ud800", value: Buffer.of(), headers: { "\udfff": "\ud834" } }]);
    expect((await reader("surrogates").take(1))[0]).toMatchObject({ key: "\ud800", headers: { "\udfff": "\ud834" } });
  });

  test("shards are shared evenly among those who are there, whoever comes and goes", async () => {
    const { log, admin } = await topics(server, { shards: 16 });
    const consumers = new Map<string, TopicReader>();
    const join = (consumer: string) => {
      const reader = new TopicReader(log, "shared", { group: "g", consumer });
      consumers.set(consumer, reader);
      void reader.next().catch(() => {});
    };
    /** How many shards each owner has, the largest share first. */
    const shares = async () => {
      const fields = Object.entries(await admin.hgetall("vl:topic:shared:group:g"));
      const owners = fields.filter(([field]) => field.endsWith(":owner")).map(([, instance]) => instance);
      const counts = new Map<string, number>();
      for (const owner of owners) counts.set(owner, (counts.get(owner) ?? 0) + 1);
      return [...counts.values()].sort((a, b) => b - a);
    };
    join("a");
    await expect.poll(shares).toEqual([16]);
    join("b");
    await expect.poll(shares).toEqual([8, 8]);
    join("c");
    await expect.poll(shares).toEqual([6, 5, 5]);
    await consumers.get("a")?.close();
    await expect.poll(shares).toEqual([8, 8]);
  });

  test("a dead consumer's lease does not last for ever when the store's clock is set back", async () => {
    const { log, admin } = await topics(server, { shards: 4 });
    const group = "vl:topic:backwards:group:g";
    // As it looks after the clock was set back by an hour: the dead one's lease ends an hour from now.
    await admin.zadd(`${group}:members`, Date.now() + 3_600_000, "dead");
    await admin.hset(
      group,
      "member:dead",
      "gone",
      ...upTo(4).flatMap((s) => [`${s}:owner`, "gone", `${s}:token`, "1"]),
    );
    const consumer = new TopicReader(log, "backwards", { group: "g", consumer: "living" });
    await log.publish(
      "backwards",
      keysOf(20).map((key) => said(key, 0)),
    );
    expect(await consumer.take(20)).toHaveLength(20);
  });

  test("connections that break while publishing neither lose nor double nor disorder a message", async () => {
    const { log, admin, stored } = await topics(server);
    let going = true;
    const breaking = (async () => {
      for (; going; await context.clock.sleep(20))
        await admin.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    })();
    for (const n of upTo(150)) {
      const published = log.publish("broken", [said("a", n)]);
      if (n % 5 === 0) await published; // else the next ones go with it
    }
    await log.publish("broken", [said("b", 0)]);
    going = false;
    await breaking;
    expect(await stored("broken")).toBe(151);
    const consumer = new TopicReader(log, "broken", { group: "g", consumer: "c" });
    expect(numbersOf(await consumer.take(151), "a")).toEqual(upTo(150));
  });

  test("the outbox moves to the topic exactly once, with two writers and broken connections", async () => {
    const { log, admin, stored } = await topics(server);
    await log.ensureTopic("results");
    const writers = await Promise.all(
      upTo(2).map(async () => {
        const redis = await connectStore(server.url, context);
        onTestFinished(() => redis.disconnect());
        return createRedisOutboxTransfer(redis, { outboxKey: "{vl}:outbox" }, systemClock);
      }),
    );
    for (const n of upTo(300)) await admin.xadd("{vl}:outbox", "*", "json", String(n));
    const outbox = await admin.xrange("{vl}:outbox", "-", "+");
    const entries = outbox.map(([outboxId, fields]) => ({ outboxId, message: said("camera-1", Number(fields[1])) }));
    let moved = 0;
    const writing = writers.map(async (writer) => {
      for (let i = 0; i < entries.length; i += 10) {
        moved += await writer.transfer("results", entries.slice(i, i + 10));
        if (i % 50 === 0) await admin.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      }
    });
    await Promise.all(writing);
    expect(await stored("results")).toBe(300);
    expect(await admin.xlen("{vl}:outbox")).toBe(0);
    expect(moved).toBeLessThanOrEqual(300); // less where an answer was lost with its connection
    const consumer = new TopicReader(log, "results", { group: "g", consumer: "c" });
    expect(numbersOf(await consumer.take(300), "camera-1")).toEqual(upTo(300));
  });

  test("an idle consumer of 16 shards costs the store few commands", async () => {
    const { log, admin } = await topics(server, { shards: 16, leaseMs: 3_000 });
    const consumer = new TopicReader(log, "idle", { group: "g", consumer: "c" });
    await log.publish("idle", [said("a", 0)]);
    await consumer.take(1);
    const hanging = consumer.next().catch(() => {});
    const calls = async () => {
      const stats = await admin.info("commandstats");
      return [...stats.matchAll(/cmdstat_(?:evalsha|eval|xread|xadd):calls=(\d+)/g)].reduce(
        (sum, [, n]) => sum + Number(n),
        0,
      );
    };
    const before = await calls();
    await context.clock.sleep(4_000); // the span that is measured
    // A tick a second; a read every five seconds; a trim every two, of this topic.
    expect((await calls()) - before).toBeLessThanOrEqual(4 * 2.5);
    await consumer.close();
    await hanging;
  });
});
