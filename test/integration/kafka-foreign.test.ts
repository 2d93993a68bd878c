/**
 * Messages of other programs that are more than text: librdkafka (kcat) writes them, and reads what dead letters, their retry and
 * a copy have made of them. On a real Kafka broker.
 */
import { spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { buffer } from "node:stream/consumers";
import { Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { deadLetterTopic } from "../../src/topics/topic-log.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { silent } from "../support/pipeline.ts";
import { TopicReader } from "../support/topic-reader.ts";
import { runCommand } from "../support/topics-command.ts";

const kcatThere = spawnSync("kcat", ["-V"]).error === undefined;

/** What kcat is told and given, and how its reader shows that: length and bytes of key and value, the headers. */
const WRITTEN: [args: string[], input: Buffer, shown: string][] = [
  [["-K", "\t", "-H", "a=1", "-H", "a=2"], Buffer.from("cam\xff\xfe\tx\n", "latin1"), "5|cam\xff\xfe|1|x|a=1,a=2"],
  [["-K", "\t"], Buffer.from("cam\xff\xfd\ty\n", "latin1"), "5|cam\xff\xfd|1|y|"],
  [["-K", "\t", "-H", "b=1", "-H", "b=2"], Buffer.from("text\tz\n"), "4|text|1|z|b=1,b=2"],
  [["-H", "toString=1"], Buffer.from("keyless\n"), "-1||7|keyless|toString=1"],
  [["-K", "\t", "-Z"], Buffer.from("gone\t\n"), "4|gone|-1||"],
  [["-K", "\t", "-H", "c=1"], Buffer.from("plain\tp\n"), "5|plain|1|p|c=1"],
];
/** kcat's partitioner beside each of ours; of several keys without bytes it makes one partition. */
const PARTITIONERS = [
  { ours: "murmur2", theirs: "murmur2" },
  { ours: "crc32", theirs: "consistent" },
] as const;

describe.skipIf(!brokerThere || !kcatThere)("messages of other programs on a real Kafka broker", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await someKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  async function kcat(args: string[], input: Buffer = Buffer.alloc(0)): Promise<string> {
    const child = spawn("kcat", ["-b", kafka.brokers.join(","), ...args], { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    child.stdin.end(input);
    const [said] = await Promise.all([buffer(child.stdout), once(child, "exit")]);
    expect(child.exitCode).toBe(0);
    return said.toString("latin1");
  }

  /** A line a message: its partition, then as in WRITTEN. */
  async function read(topic: string): Promise<string[]> {
    const said = await kcat(["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p|%K|%k|%S|%s|%h\\n"]);
    return said.split("\n").filter(Boolean).sort();
  }

  async function openLog(more: object = {}) {
    const settings = { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 16, ...more };
    const log = createKafkaTopicLog(settings, silent);
    onTestFinished(() => log.stop());
    await log.start();
    return log;
  }

  const withoutPartition = (line: string) => line.replace(/^\d+\|/, "");
  const withoutReasons = (line: string) => line.replaceAll(/,?dead-letter-[a-z]+=[^,]*/g, "");

  test.each(PARTITIONERS)(
    "dead letters, their retry and a copy are what was there, each on its partition ($ours)",
    {
      timeout: 60_000,
    },
    async ({ ours, theirs }) => {
      const topic = `t-${randomUUID()}`;
      const log = await openLog({ partitioner: ours });
      await log.ensureTopic(topic);
      for (const [args, input] of WRITTEN) {
        await kcat(["-P", "-t", topic, "-X", `topic.partitioner=${theirs}`, ...args], input);
      }
      const lines = await read(topic);
      const shown = WRITTEN.map(([, , line]) => line).sort();
      expect(lines.map(withoutPartition).sort()).toEqual(shown);

      const consumer = new TopicReader(log, topic, { group: "g", consumer: "a" });
      for (let rest = WRITTEN.length; rest > 0; ) {
        const batch = await consumer.next();
        for (const message of batch.messages) await batch.deadLetter(message, { code: "X", message: "why" });
        rest -= batch.messages.length;
        await batch.acknowledge();
      }
      await consumer.close();
      const letters = (await read(deadLetterTopic(topic))).map(withoutPartition);
      for (const letter of letters) expect(letter).toMatch(/dead-letter-topic=t-.*dead-letter-code=X/);
      expect(letters.map(withoutReasons).sort()).toEqual(shown);

      const env = { KAFKA_BROKERS: kafka.brokers.join(","), VIGILANE_KAFKA_PARTITIONER: ours };
      const copied = await runCommand(["topics", "copy", topic, `${topic}-copy`], env);
      expect([copied.code, copied.out]).toEqual([0, expect.stringMatching(/^6 messages/)]);
      expect(await read(`${topic}-copy`)).toEqual(lines);

      const retried = await runCommand(["dlq", "retry", topic, "--all"], env);
      expect([retried.code, retried.out]).toEqual([0, `6 retried: published to ${topic}.\n`]);
      expect(await read(topic)).toEqual([...lines, ...lines].sort());
    },
  );

  test("a topic that must have keys refuses a message without one, and is not asked for ever", async () => {
    const topic = `t-${randomUUID()}`;
    const admin = new Kafka({ brokers: [...kafka.brokers], logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    const configEntries = [{ name: "cleanup.policy", value: "compact" }];
    await admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }], waitForLeaders: true });
    await admin.disconnect();
    const log = await openLog({ shards: 1 });
    const value = Buffer.from("x");
    const keyless = { key: "", value, foreign: { key: null, value, headers: [] } };
    await expect(log.publish(topic, [keyless])).rejects.toMatchObject({ code: "BROKER_REFUSED" });
    await log.publish(topic, [{ key: "", value }]);
    expect(await read(topic)).toEqual(["0|0||1|x|"]);
  });
});
