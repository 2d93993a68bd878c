/**
 * The older parts' messages on a real Kafka broker, in each compression, written and read by librdkafka (kcat), through bridge
 * and worker.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { ConfigResourceTypes, Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { TaskMessage } from "../../src/messages.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { expectOlderResults, type SeenResult } from "../support/expect-older-results.ts";
import { javaThere, startKafka } from "../support/kafka.ts";
import { olderDetection, olderTask, pythonJson } from "../support/older-messages.ts";
import { olderVariants } from "../support/older-variants.ts";
import { startPipeline } from "../support/pipeline.ts";

const kcatThere = spawnSync("kcat", ["-V"]).error === undefined;
/** As the pipeline writes them, and what the broker makes of a message that came uncompressed (snappy in Java's frame). */
const WAYS = ["none", "snappy", "gzip", "lz4", "zstd"] as const;

describe.skipIf(!javaThere || !kcatThere)("older parts on Kafka", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await startKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  const kcat = (args: string[]) => {
    const child = spawn("kcat", ["-b", kafka.brokers.join(","), ...args], { stdio: ["pipe", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    return child;
  };

  async function write(topic: string, codec: string, lines: readonly (readonly [key: unknown, value: string])[]) {
    const child = kcat(["-P", "-t", topic, "-K", "\t", ...(codec === "none" ? [] : ["-z", codec])]);
    child.stdin.end(lines.map(([key, value]) => `${key}\t${value}\n`).join(""));
    await Promise.all([text(child.stdout), once(child, "exit")]);
    expect(child.exitCode).toBe(0);
  }

  /** The first `count` messages of a topic, as a consumer of librdkafka gets them (committed ones only). */
  async function read(topic: string, count: number): Promise<SeenResult[]> {
    const child = kcat(["-C", "-t", topic, "-o", "beginning", "-q", "-u", "-f", "%k\t%s\n"]);
    const seen: SeenResult[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      const [key = "", value = ""] = line.split("\t");
      if (seen.push({ key, value: JSON.parse(value) as SeenResult["value"] }) === count) break;
    }
    return seen;
  }

  /** The topics as init_kafka_topics.py makes them; `compression`: that of the topic itself. */
  async function olderTopics() {
    const admin = new Kafka({ brokers: [...kafka.brokers], logLevel: logLevel.NOTHING }).admin();
    await admin.connect();
    onTestFinished(() => admin.disconnect());
    await admin.createTopics({
      topics: Object.values(TOPICS).map((topic) => ({
        ...{ topic, numPartitions: 16, replicationFactor: 1 },
        configEntries: [
          { name: "compression.type", value: "snappy" },
          { name: "max.message.bytes", value: "1048576" },
        ],
      })),
    });
    const resource = { type: ConfigResourceTypes.TOPIC, name: TOPICS.detections };
    return {
      compression: (value: string) =>
        admin.alterConfigs({
          validateOnly: false,
          resources: [{ ...resource, configEntries: [{ name: "compression.type", value }] }],
        }),
    };
  }

  test("detections in every form and compression: one result a group, as librdkafka's consumers read them", async () => {
    const topics = await olderTopics();
    const world = await startPipeline({ settings: { kafkaBrokers: [...kafka.brokers], freshnessSeconds: 0 } });
    onTestFinished(() => world.stop());
    const all = [];
    for (const [i, codec] of WAYS.entries()) {
      const variants = olderVariants(100 * i);
      all.push(...variants);
      // The topic's own compression would hide the producer's.
      if (i === 1) await topics.compression("producer");
      await write(
        TOPICS.detections,
        codec,
        variants.map(({ cameraId, text: line }) => [cameraId, line]),
      );
    }
    const wanted = all.flatMap(({ ends }) => ends).length;
    const last = olderDetection({ cameraId: "last", messageId: "last" });
    await write(TOPICS.detections, "snappy", [["last", pythonJson(last)]]);
    const seen = await read(TOPICS.results, wanted + 2);
    await world.outcomes(["last_group1", "last_group2"]);
    await expect.poll(() => world.results.length, { timeout: 20_000 }).toBe(wanted + 2);
    expectOlderResults(
      all,
      seen.filter(({ value }) => value.requestId !== "last"),
    );
  });

  test("tasks of an older generator are judged, and ours are read by librdkafka", async () => {
    const reading = await startPipeline({
      settings: { kafkaBrokers: [...kafka.brokers], freshnessSeconds: 0, assessmentTasks: "read" },
    });
    onTestFinished(() => reading.stop());
    const detections = WAYS.map((codec) => olderDetection({ cameraId: codec, messageId: `tasks-${codec}` }));
    for (const [i, detection] of detections.entries()) {
      const lines = [0, 1].map((nth) => [detection.cameraId, pythonJson(olderTask(detection, nth))] as const);
      await write(TOPICS.tasks, WAYS[i] ?? "none", lines);
    }
    const ids = detections.flatMap(({ messageId }) => [1, 2].map((i) => `${messageId}_group${i}`));
    const found = await reading.outcomes(ids);
    expect([...found.values()].map((some) => some.map(({ outcome }) => outcome))).toEqual(ids.map(() => ["assessed"]));

    const writing = await startPipeline({
      settings: { kafkaBrokers: [...kafka.brokers], freshnessSeconds: 0, assessmentTasks: "write" },
    });
    onTestFinished(() => writing.stop());
    const detection = olderDetection({ cameraId: 7, messageId: "handed" });
    await write(TOPICS.detections, "snappy", [[7, pythonJson(detection)]]);
    const handed = await reading.outcomes(["handed_group1", "handed_group2"], 30_000);
    expect([...handed.values()].map((some) => some.map(({ outcome }) => outcome))).toEqual([
      ["assessed"],
      ["assessed"],
    ]);
    const tasks = (await read(TOPICS.tasks, ids.length + 2)).filter(({ key }) => key === "7");
    for (const [nth, { value }] of tasks.entries()) {
      const { messageId: _, ...as } = olderTask(detection, nth);
      expect(TaskMessage.parse(value)).toMatchObject(as);
    }
    expect(tasks).toHaveLength(2);
  });
});
