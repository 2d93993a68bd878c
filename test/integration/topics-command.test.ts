/** `vigilane topics …` and `vigilane dlq …` as processes, on a real redis-server and on a real Kafka broker. */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { help } from "../../src/commands/help.ts";
import { PREFIX } from "../../src/queues/lua-scripts.ts";
import { RECORD_SPARE_MS } from "../../src/queues/outcomes-known.ts";
import { Settings } from "../../src/settings.ts";
import { writeRunFile } from "../../src/supervisor/run-file.ts";
import { openTopicLog } from "../../src/topics/open-topic-log.ts";
import { deadLetterTopic, TOPICS } from "../../src/topics/topic-log.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { silent } from "../support/pipeline.ts";
import { startRedis } from "../support/redis.ts";
import { TopicReader } from "../support/topic-reader.ts";
import { rowOf, runCommand, type Said } from "../support/topics-command.ts";

interface Place {
  settings: Partial<Settings>;
  env: Record<string, string>;
  stop(): Promise<unknown>;
}

async function onRedis(): Promise<Place> {
  const redis = await startRedis();
  return { settings: { redisUrl: redis.url }, env: { REDIS_URL: redis.url }, stop: () => redis.stop() };
}

async function onKafka(): Promise<Place> {
  const kafka = await someKafka();
  const env = { KAFKA_BROKERS: kafka.brokers.join(",") };
  return { settings: { kafkaBrokers: kafka.brokers }, env, stop: () => kafka.stop() };
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "vigilane-topics-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** The command with topics of this test's own: detection-results is called so, and has a group of readers. */
async function scene(place: Place) {
  const wire = `t-${randomUUID()}`;
  const names = { detectionsTopic: wire, tasksTopic: `${wire}-tasks` };
  const log = openTopicLog(Settings.parse({ ...place.settings, ...names }), place.settings.redisUrl ?? "", silent);
  onTestFinished(() => log.stop());
  await log.start();
  const env = { ...place.env, VIGILANE_DETECTIONS_TOPIC: wire, VIGILANE_TASKS_TOPIC: `${wire}-tasks` };
  const run = (...args: string[]): Promise<Said> => runCommand(args, env);
  const reader = (topic: string = TOPICS.detections) =>
    new TopicReader(log, topic, { group: "readers", consumer: "a" });
  return { wire, log, run, reader };
}

/** With brokers alone the bridges' store is that of the vigilane on the data folder, if it works on these brokers. */
async function expectBridgesFigure({ settings }: Place, rewind: (data: string) => Promise<Said>): Promise<void> {
  const store = await startRedis();
  onTestFinished(() => store.stop());
  const redis = new Redis(store.url);
  await redis.hset(`${PREFIX}settings`, "recordMs", 1_800_000 + RECORD_SPARE_MS);
  redis.disconnect();
  const data = folder();
  const runs = { pid: process.pid, redisUrl: store.url, s3Bucket: null, gatewayUrl: null, startedAt: "" };
  writeRunFile(data, { ...runs, kafkaBrokers: [...(settings.kafkaBrokers ?? [])] });
  expect((await rewind(data)).err).toMatch(/remembered for 30 min \(topicRetentionHours of the bridges\)/);
  writeRunFile(data, { ...runs, kafkaBrokers: ["elsewhere:9092"] });
  expect((await rewind(data)).err).toMatch(/not known here.*remembered for 1 h /s);
}

const message = (key: string, value: string | Buffer) => ({ key, value: Buffer.from(value) });

const LONG = process.env.VIGILANE_LONG === "1";

/** What the commands ask and change is shown on both by the conformance suites; as processes on Kafka in the long run alone. */
describe.each([
  { on: "redis-server", open: onRedis, there: true },
  ...(LONG ? [{ on: "Kafka", open: onKafka, there: brokerThere }] : []),
])("on a real $on", ({ on, open, there }) => {
  const kafka = on === "Kafka";
  let place: Place;
  beforeAll(async () => {
    if (there) place = await open();
  }, 120_000);
  afterAll(() => place?.stop());

  test.skipIf(!there)(
    "create makes what the file says, again and again; what differs is shown and changed",
    async () => {
      const { wire, run } = await scene(place);
      const file = join(folder(), "topics.yaml");
      const kept = (partitions: number, retentionHours: number) =>
        `topics: { detection-results: { partitions: ${partitions}, retentionHours: ${retentionHours} } }`;
      const create = (...flags: string[]) => run("topics", "create", "--file", file, ...flags);
      writeFileSync(file, kept(2, 1));
      const made = await create();
      expect(made.out).toMatch(
        new RegExp(`✓ ${wire} +created: 2 partitions.*\n✓ ${wire}\\.dlq +created: 1 partition,`),
      );

      writeFileSync(file, kept(4, 2));
      expect((await create("--dry-run")).out).toMatch(
        /· t-\S+ +differs\n +~ partitions: 2 → 4\n.*Nothing was changed/s,
      );
      const grown = await create();
      expect(grown.out).toContain("✓ partitions: 2 → 4");
      if (kafka) {
        expect(grown.out).toMatch(/~ retention\.ms: 3600000 \(1 h\) → 7200000 \(2 h\) \(with --apply\)/);
        expect((await create("--apply")).out).toContain("✓ retention.ms: 3600000 (1 h) → 7200000 (2 h)");
      }
      expect((await create()).out).toMatch(new RegExp(`^✓ ${wire} +as wished\n✓ ${wire}\\.dlq +as wished\n$`));
      expect(rowOf((await run("topics", "list")).out, `${wire} `)?.slice(1, 4)).toEqual(["4", "1", "0"]);
    },
  );

  test.skipIf(!there)("lag, rewind, tail and copy tell and do what they say", async () => {
    const { wire, log, run, reader } = await scene(place);
    const bytes = Buffer.from([0xff, 0x00, 0x1b]);
    await log.publish(TOPICS.detections, [message("north", '{"cameraId":"north"}'), message("south", bytes)]);
    const consumer = reader();
    await consumer.take(2);
    const rewind = () => run("topics", "rewind", "--group", "readers", "--to", "1h", "--topic", TOPICS.detections);
    const refused = await rewind();
    expect([refused.code, refused.out]).toEqual([1, expect.stringMatching(/2 messages come again.*it is consuming/s)]);
    expect(refused.err).toMatch(/is consuming: .*GROUP_CONSUMING.*--force/);
    await consumer.close();
    const asBridge = ["--group", "readers", "--bridge-group", "readers", "--to", "2h", "--topic", wire];
    const unknown = await run("topics", "rewind", ...asBridge);
    expect([unknown.code, unknown.err]).toEqual([
      2,
      expect.stringMatching(
        /not known here.*this command counts.*remembered for 1 h \(topicRetentionHours\).*--again/s,
      ),
    ]);
    if (kafka) await expectBridgesFigure(place, (data) => run("topics", "rewind", ...asBridge, "--data", data));
    expect((await rewind()).code).toBe(0);
    expect((await run("topics", "lag", wire)).out).toMatch(/GROUP +TOPIC.*\nreaders +t-\S+ +2 +\d+\.\d +0 +nobody\n/);

    const shown = await run("topics", "tail", TOPICS.detections, "--no-follow", "--json");
    const lines = shown.out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.toSorted((a, b) => (a.key < b.key ? -1 : 1))).toMatchObject([
      { topic: wire, key: "north", value: { cameraId: "north" } },
      { topic: wire, key: "south", base64: bytes.toString("base64") },
    ]);
    const one = await run("topics", "tail", wire, "--from", "10m", "--key", "south", "--count", "1");
    expect(one.out).toMatch(/key "south".*\n\(no UTF-8\) ff001b\n/);

    const progress = join(folder(), "progress.json");
    const copy = () => run("topics", "copy", wire, TOPICS.tasks, "--progress", progress);
    expect((await copy()).out).toMatch(new RegExp(`^2 messages \\(23 B\\) of ${wire} were copied to ${wire}-tasks`));
    await log.publish(TOPICS.detections, [message("later", "1")]);
    expect((await copy()).out).toMatch(/^1 messages/);
    expect((await reader(TOPICS.tasks).take(3)).map(({ key }) => key).sort()).toEqual(["later", "north", "south"]);
  });

  test.skipIf(!there)("dead letters are listed, retried and purged, exactly those that were selected", async () => {
    const { wire, log, run, reader } = await scene(place);
    const keys = ["a", "b", "c"];
    await log.publish(
      TOPICS.detections,
      keys.map((key) => ({ ...message(key, Buffer.from([0xff, 0x00])), headers: { traceparent: key } })),
    );
    const consumer = reader();
    for (let rest = keys.length; rest > 0; ) {
      const batch = await consumer.next();
      for (const m of batch.messages) {
        await batch.deadLetter(m, { code: m.key === "c" ? "POISON" : "X", message: "why" });
      }
      rest -= batch.messages.length;
      await batch.acknowledge();
    }
    const dead = deadLetterTopic(wire);
    const listed = await run("dlq", "list", TOPICS.detections);
    const row = rowOf(listed.out, "POISON");
    expect(row?.slice(1)).toEqual([
      ...[dead, expect.stringMatching(/Z$/), "c", expect.stringContaining(`${wire} `), "POISON", "2 B", "why"],
    ]);
    const shown = await run("dlq", "show", wire, row?.[0] ?? "");
    expect(shown.out).toMatch(/key "c".*dead-letter-code: POISON.*ff00/s);

    const retried = await run("dlq", "retry", dead, "--key", "a");
    expect([retried.code, retried.out]).toEqual([0, `1 retried: published to ${wire}.\n`]);
    const [again] = await consumer.take(1);
    expect(again).toMatchObject({ key: "a", value: Buffer.from([0xff, 0x00]), headers: { traceparent: "a" } });

    const asked = await run("dlq", "purge", wire, row?.[0] ?? "");
    expect([asked.code, asked.err]).toEqual([2, expect.stringContaining("--yes does it")]);
    expect((await run("dlq", "purge", wire, row?.[0] ?? "", "--yes")).out).toBe("1 purged.\n");
    const left = JSON.parse((await run("dlq", "list", wire, "--json")).out);
    expect(left).toMatchObject([{ topic: dead, key: "b", code: "X", base64: "/wA=", stoodAt: { topic: wire } }]);
  });
});

test("wrong use, an unknown topic, and who is away are named, with their exit codes", async () => {
  const redis = await startRedis();
  const env = { REDIS_URL: redis.url };
  const file = join(folder(), "topics.yaml");
  writeFileSync(file, "topics:\n  detection-results: { partitions: many }\n");
  const runs: [args: string[], env: Record<string, string>, code: number, said: RegExp][] = [
    [["topics", "burn"], env, 2, /no command "burn"/],
    [["topics", "create", "--file", file], env, 2, /topics\.yaml:2:36: topics\.detection-results\.partitions/],
    [["topics", "copy", "one"], env, 2, /something is missing .*Usage: vigilane topics copy FROM TO/],
    [["topics", "tail"], env, 2, /Usage: vigilane topics tail TOPIC .*--no-follow.*--whole/],
    [["topics", "tail", "none"], env, 1, /there is no topic none.*TOPIC_UNKNOWN/],
    [["topics", "list"], { VIGILANE_DATA: "/nowhere" }, 2, /neither KAFKA_BROKERS nor a REDIS_URL/],
    [
      ["topics", "list"],
      { KAFKA_BROKERS: "127.0.0.1:1" },
      1,
      /no broker answers at 127\.0\.0\.1:1.*BROKER_AWAY.*; then run this again/,
    ],
    [["dlq", "list"], { REDIS_URL: "redis://127.0.0.1:1" }, 1, /STORE_AWAY\)\. Start Redis again; then run this again/],
  ];
  const ended = await Promise.all(runs.map(([args, more]) => runCommand(args, more)));
  for (const [i, [args, , code, said]] of runs.entries()) {
    expect([args, ended[i]?.code]).toEqual([args, code]);
    expect(ended[i]?.err).toMatch(said);
  }
});

test("each command has help of its own", () => {
  for (const name of ["create", "list", "lag", "tail", "rewind", "copy"]) {
    expect(help("topics")).toContain(`  topics ${name}`);
    expect(help("topics", [name, "--help"])).toMatch(new RegExp(`^Usage: vigilane topics ${name}`));
  }
  for (const name of ["list", "show", "retry", "purge"]) {
    expect(help("dlq")).toContain(`  dlq ${name}`);
    expect(help("dlq", [name, "--help"])).toMatch(new RegExp(`^Usage: vigilane dlq ${name}`));
  }
});
