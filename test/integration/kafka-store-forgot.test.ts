/**
 * The topics on a real Kafka broker, and a real store that comes back without its newest writes: what was read in the lost time is
 * read again, also by another process, and what was published in it is not published again.
 */
import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { errorCode } from "../../src/errors.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { groupIdOf } from "../../src/topics/kafka-membership.ts";
import { createKafkaOutboxTransfer } from "../../src/topics/kafka-outbox-transfer.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { createKafkaTopicTools } from "../../src/topics/kafka-topic-tools.ts";
import type { TopicLog } from "../../src/topics/topic-log.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { readByLibrdkafka } from "../support/kcat.ts";
import { silent } from "../support/pipeline.ts";
import { startRedis, type TestRedisOptions } from "../support/redis.ts";
import { TopicReader } from "../support/topic-reader.ts";

const OUTBOX = "{vl}:outbox";

describe.skipIf(!brokerThere)("topics on Kafka, and a store that has forgotten its newest writes", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await someKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  /** "no": it may forget, and what it has answered is in its file. (everysec puts that off while it syncs.) */
  async function scene(appendfsync: TestRedisOptions["appendfsync"] = "no") {
    const store = await startRedis({ appendfsync });
    const redis = new Redis(store.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    redis.on("error", () => {});
    onTestFinished(() => redis.disconnect());
    const topic = `t-${randomUUID()}`;
    const open = async () => {
      const settings = { retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 2, storeUrl: store.url };
      const log = createKafkaTopicLog({ brokers: kafka.brokers, ...settings }, silent);
      onTestFinished(() => log.stop());
      await log.start();
      await log.ensureTopic(topic);
      return log;
    };
    const publish = (log: TopicLog, ...texts: string[]) =>
      log.publish(
        topic,
        texts.map((text) => ({ key: "camera", value: Buffer.from(text) })),
      );
    const writer = () => {
      const settings = { brokers: kafka.brokers, outboxKey: OUTBOX, positionTopic: topic, nameOf: String };
      const transfer = createKafkaOutboxTransfer(redis, settings, silent);
      onTestFinished(() => transfer.close());
      return transfer;
    };
    /** Puts these into the outbox, as the ends of tasks do. */
    const end = async (...texts: string[]) => {
      for (const text of texts) await redis.xadd(OUTBOX, "*", "text", text);
    };
    const inOutbox = async () =>
      (await redis.xrange(OUTBOX, "-", "+")).map(([outboxId, [, text = ""]]) => ({
        outboxId,
        message: { key: "camera", value: Buffer.from(text) },
      }));
    /** Until the outbox is empty. */
    const moveAll = async (transfer: ReturnType<typeof writer>) => {
      for (let entries = await inOutbox(); entries.length > 0; entries = await inOutbox()) {
        await transfer.transfer(topic, entries).catch(() => {}); // as the bridge does: again
      }
    };
    const published = async () => (await readByLibrdkafka(kafka.brokers, topic)).map(({ value }) => value).toSorted();
    /** A moment to go back to. One more write, so that what came before it is whole in the file. */
    const mark = async () => {
      await redis.incr("mark");
      return store.written();
    };
    return { store, redis, topic, open, publish, writer, end, inOutbox, moveAll, published, mark };
  }

  const read = async (reader: TopicReader, how: "acknowledge" | "keep" = "acknowledge") => {
    const batch = await reader.next();
    if (how === "acknowledge") await batch.acknowledge();
    return { batch, texts: batch.messages.map(({ value }) => value.toString()) };
  };

  /** What may have been handed out before the store's return was noticed comes again. */
  const readWell = async (reader: TopicReader): Promise<string[]> => {
    try {
      return (await read(reader)).texts;
    } catch (error) {
      if (errorCode(error) !== "OWNERSHIP_LOST") throw error;
      return readWell(reader);
    }
  };

  test.each(["the same consumer", "another process's"])(
    "what was acknowledged in the lost time comes again to %s",
    async (who) => {
      const { store, topic, open, publish, mark } = await scene();
      const log = await open();
      const reader = new TopicReader(log, topic, { group: "readers", consumer: "a" });
      await publish(log, "before");
      expect((await read(reader)).texts).toEqual(["before"]);
      const written = await mark();
      await publish(log, "lost-1", "lost-2");
      expect((await read(reader)).texts).toEqual(["lost-1", "lost-2"]);
      if (who !== "the same consumer") await log.stop();
      await store.dieAsOf(written);
      await store.restart();
      const next =
        who === "the same consumer"
          ? reader
          : new TopicReader(await open(), topic, { group: "readers", consumer: "b" });
      expect((await read(next)).texts).toEqual(["lost-1", "lost-2"]);
      // Once: nothing of it comes a third time.
      await publish(await open(), "after");
      expect((await read(next)).texts).toEqual(["after"]);
    },
  );

  test("a batch that is out while the store restarts cannot be acknowledged, and comes again", async () => {
    const { store, topic, open, publish, mark } = await scene();
    const log = await open();
    const reader = new TopicReader(log, topic, { group: "readers", consumer: "a" });
    await publish(log, "one");
    const { batch } = await read(reader, "keep");
    await store.dieAsOf(await mark());
    await store.restart();
    await expect(batch.acknowledge()).rejects.toMatchObject({ code: "OWNERSHIP_LOST" });
    expect((await read(reader)).texts).toEqual(["one"]);
  });

  test("a store that syncs each write is asked for nothing, and nothing comes again", async () => {
    const { store, redis, topic, open, publish } = await scene("always");
    const log = await open();
    const reader = new TopicReader(log, topic, { group: "readers", consumer: "a" });
    await publish(log, "one");
    const { batch } = await read(reader, "keep");
    await store.kill("SIGKILL");
    await store.restart();
    await batch.acknowledge();
    await publish(log, "two");
    expect((await read(reader)).texts).toEqual(["two"]);
    expect(await redis.keys("vl:read-places:*")).toEqual([]);
  });

  test("behind the end of a transaction the store's note is where the group is: its restart makes nobody read again", async () => {
    const { redis, topic, open, writer, end, moveAll } = await scene();
    const log = await open();
    const reader = new TopicReader(log, topic, { group: "readers", consumer: "a" });
    await end("one");
    await moveAll(writer());
    expect((await read(reader)).texts).toEqual(["one"]);
    void reader.next().catch(() => {});
    const places = async () =>
      Object.values(await redis.hgetall(`vl:read-places:${groupIdOf(topic, "readers")}`)).map((note) =>
        note.replace(/^\w+:/, ""),
      );
    await expect.poll(async () => (await places()).toSorted(), { timeout: 15_000 }).toEqual(["0", "2"]);
  });

  test.each(["the store stays up", "the store restarts before it"])(
    "a group that was moved forward by hand stays there: %s",
    async (how) => {
      const { store, topic, open, publish, mark } = await scene();
      const log = await open();
      const reader = new TopicReader(log, topic, { group: "readers", consumer: "a" });
      await publish(log, "one");
      await read(reader);
      await store.dieAsOf(await mark());
      await store.restart();
      await publish(log, "two");
      expect(await readWell(reader)).toEqual(["two"]); // noted in this run of the store
      await log.stop();
      const again = await open();
      if (how !== "the store stays up") await store.restart();
      await publish(again, "skipped");
      const tools = createKafkaTopicTools({ brokers: kafka.brokers }, silent);
      onTestFinished(() => tools.stop());
      await tools.start();
      await tools.move(topic, "readers", await again.ends(topic));
      await publish(again, "three");
      const next = new TopicReader(again, topic, { group: "readers", consumer: "a" });
      expect((await read(next)).texts).toEqual(["three"]);
    },
  );

  test.each(["the same writer", "another one"])(
    "what was published in the lost time is not published again by %s",
    async (who) => {
      const { store, open, writer, end, moveAll, published, mark, inOutbox } = await scene();
      await open();
      let transfer = writer();
      await end("before");
      await moveAll(transfer);
      await end("waits");
      const written = await mark();
      await end("lost-1", "lost-2");
      await moveAll(transfer);
      expect(await published()).toEqual(["before", "lost-1", "lost-2", "waits"]);
      await store.dieAsOf(written);
      await store.restart();
      if (who === "another one") transfer = writer();
      expect((await inOutbox()).length).toBe(1); // "waits", which is published
      // Its tasks end once more, and others for the first time.
      await end("lost-1", "new-1");
      await moveAll(transfer);
      await end("new-2", "lost-2");
      await moveAll(transfer);
      expect(await published()).toEqual(["before", "lost-1", "lost-2", "new-1", "new-2", "waits"]);
    },
  );

  test("what came again, and was forgotten once more after that, is not published again either", async () => {
    const { store, open, writer, end, moveAll, published, mark } = await scene();
    await open();
    const transfer = writer();
    await end("before");
    await moveAll(transfer);
    const written = await mark();
    await end("lost-1", "lost-2");
    await moveAll(transfer);
    await store.dieAsOf(written);
    await store.restart();
    await end("lost-1");
    await moveAll(transfer); // known to be published, as "lost-2" is
    const later = await mark();
    await end("lost-2");
    await moveAll(transfer);
    await store.dieAsOf(later);
    await store.restart();
    await end("lost-2", "new");
    await moveAll(transfer);
    expect(await published()).toEqual(["before", "lost-1", "lost-2", "new"]);
  });

  test("what a transaction published as the store died, before anything was noted of it, is not published again", async () => {
    const { store, topic, redis, open, writer, end, inOutbox, moveAll, published, mark } = await scene();
    await open();
    const transfer = writer();
    await end("before");
    await moveAll(transfer);
    const written = await mark();
    await end("lost");
    const entries = await inOutbox();
    // The store dies after it has said what is in the outbox, and comes back before it hears what became of that.
    const asked = once(redis, "vl_topics_outbox_held_lua");
    const moving = transfer.transfer(topic, entries);
    await asked;
    await store.dieAsOf(written);
    await store.restart();
    await moving.catch(() => {});
    expect(await published()).toEqual(["before", "lost"]);
    await end("lost", "new");
    await moveAll(transfer);
    expect(await published()).toEqual(["before", "lost", "new"]);
  });
});

/** Resolves when a script of this name was answered. */
function once(redis: Redis, name: string): Promise<void> {
  const commands = redis as unknown as Record<string, (...all: unknown[]) => Promise<unknown>>;
  const run = commands[name];
  return new Promise((resolve) => {
    commands[name] = async (...all) => {
      const answer = await run?.apply(redis, all);
      resolve();
      return answer;
    };
  });
}
