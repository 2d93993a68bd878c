/** Compressed messages of librdkafka (kcat wrote them), of Java's clients, and ours: how they lie, read by us and by librdkafka. */
import { spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import type { Compression } from "../../src/topics/kafka-client.ts";
import { CODECS, snappyBlocks } from "../../src/topics/kafka-codecs.ts";
import { createKafkaOutboxTransfer } from "../../src/topics/kafka-outbox-transfer.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { keyToShard, keyToShardByCrc32 } from "../../src/topics/key-to-shard.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { startRedis } from "../support/redis.ts";
import { storedCodecs } from "../support/stored-codecs.ts";
import { TopicReader } from "../support/topic-reader.ts";

const context = { clock: systemClock, log: pino({ level: "silent" }) };
const kcatThere = spawnSync("kcat", ["-V"]).error === undefined;
const KEYS = Array.from({ length: 20 }, (_, n) => `camera-${n}`);
/** Compresses well, and is longer than one block of Java's snappy stream (32 KiB). */
const textOf = (key: string) => `${key} ${"ü{}[]0123456789".repeat(4_000)}`;

describe.skipIf(!brokerThere || !kcatThere)("compressed messages on a real Kafka broker", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await someKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  async function scene(more: { compression?: Compression; partitioner?: "crc32" } = {}) {
    const topic = `t-${randomUUID()}`;
    const settings = { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 8, ...more };
    const log = createKafkaTopicLog(settings, context);
    onTestFinished(() => log.stop());
    await log.start();
    await log.ensureTopic(topic);
    return {
      topic,
      log,
      read: (count: number) => new TopicReader(log, topic, { group: "g", consumer: "a" }).take(count),
    };
  }

  async function kcat(args: string[], input = ""): Promise<string> {
    const child = spawn("kcat", ["-b", kafka.brokers.join(","), ...args], { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    child.stdin.end(input);
    const [said] = await Promise.all([text(child.stdout), once(child, "exit")]);
    expect(child.exitCode).toBe(0);
    return said;
  }

  for (const codec of ["gzip", "snappy", "lz4", "zstd"] as const) {
    test(`${codec}: what librdkafka wrote is read by us, and what we wrote by librdkafka`, async () => {
      const theirs = await scene();
      const lines = KEYS.map((key) => `${key}\t${textOf(key)}\n`).join("");
      await kcat(["-P", "-t", theirs.topic, "-z", codec, "-K", "\t"], lines);
      const read = await theirs.read(KEYS.length);
      expect(new Map(read.map(({ key, value }) => [key, value.toString()]))).toEqual(
        new Map(KEYS.map((key) => [key, textOf(key)])),
      );
      const ours = await scene({ compression: codec });
      const messages = KEYS.map((key) => ({ key, value: Buffer.from(textOf(key)) }));
      await ours.log.publish(ours.topic, messages);
      expect(new Set(await storedCodecs(kafka.brokers, ours.topic))).toEqual(new Set([codec]));
      const said = await kcat(["-C", "-t", ours.topic, "-e", "-q", "-f", "%k\t%s\n"]);
      expect(said.split("\n").filter(Boolean).sort()).toEqual(KEYS.map((key) => `${key}\t${textOf(key)}`).sort());
      expect(await ours.read(KEYS.length)).toHaveLength(KEYS.length);
    });
  }

  test("what nobody wished to be compressed lies as it is", async () => {
    const { log, topic } = await scene();
    await log.publish(topic, [{ key: "a", value: Buffer.from(textOf("a")) }]);
    expect(await storedCodecs(kafka.brokers, topic)).toEqual(["none"]);
  });

  test("the outbox's outcomes lie in the wished compression too", async () => {
    const store = await startRedis();
    const redis = new Redis(store.url);
    onTestFinished(() => redis.disconnect());
    await Promise.all(
      (["none", "gzip", "snappy", "lz4", "zstd"] as const).map(async (compression) => {
        const { topic, read } = await scene();
        const outboxKey = `{${topic}}:outbox`;
        const settings = { brokers: kafka.brokers, outboxKey, positionTopic: topic, nameOf: String, compression };
        const transfer = createKafkaOutboxTransfer(redis, settings, context);
        onTestFinished(() => transfer.close());
        const entries: Parameters<typeof transfer.transfer>[1][number][] = [];
        for (const key of ["a", "b"]) {
          const outboxId = await redis.xadd(outboxKey, "*", "text", key);
          if (outboxId !== null) entries.push({ outboxId, message: { key, value: Buffer.from(textOf(key)) } });
        }
        expect(entries).toHaveLength(2);
        // As the bridge does: again.
        while ((await redis.xlen(outboxKey)) > 0) await transfer.transfer(topic, entries).catch(() => {});
        const codecs = await storedCodecs(kafka.brokers, topic);
        expect([compression, new Set(codecs)]).toEqual([compression, new Set([compression])]);
        expect((await read(2)).map(({ value }) => value.toString()).sort()).toEqual([textOf("a"), textOf("b")]);
      }),
    );
  });

  test("a key goes where librdkafka's own partitioner puts it, when that is set", async () => {
    const theirs = await scene();
    await kcat(["-P", "-t", theirs.topic, "-K", "\t"], KEYS.map((key) => `${key}\tx\n`).join(""));
    for (const { key, shard } of await theirs.read(KEYS.length)) expect(shard).toBe(keyToShardByCrc32(key, 8));
    const ours = await scene({ partitioner: "crc32" });
    await ours.log.publish(
      ours.topic,
      KEYS.map((key) => ({ key, value: Buffer.from("x") })),
    );
    for (const { key, shard } of await ours.read(KEYS.length)) expect(shard).toBe(keyToShardByCrc32(key, 8));
    expect(KEYS.some((key) => keyToShard(key, 8) !== keyToShardByCrc32(key, 8))).toBe(true);
  });
});

test("snappy in the frame of Java's clients is unpacked, in several blocks", async () => {
  const whole = Buffer.from(textOf("a"));
  const blocks = await Promise.all(
    [whole.subarray(0, 32_768), whole.subarray(32_768)].map((buffer) => CODECS.snappy.compress({ buffer })),
  );
  const header = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
  const framed = Buffer.concat([
    header,
    ...blocks.flatMap((block) => {
      const length = Buffer.alloc(4);
      length.writeInt32BE(block.length);
      return [length, block];
    }),
  ]);
  expect((await CODECS.snappy.decompress(framed)).equals(whole)).toBe(true);
  expect(() => snappyBlocks(framed.subarray(0, framed.length - 1))).toThrow(RangeError);
});
