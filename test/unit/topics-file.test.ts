import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Settings } from "../../src/settings.ts";
import { kafkaConfigOf } from "../../src/topics/kafka-topics.ts";
import { planOf, settingsOf } from "../../src/topics/topic-plan.ts";
import type { TopicWish } from "../../src/topics/topic-tools.ts";
import { readTopicsFile } from "../../src/topics/topics-file.ts";

const HOUR_MS = 3_600_000;

function file(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-topics-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "topics.yaml"), text);
  return join(folder, "topics.yaml");
}

test("our own file wishes what the older system has, and dead letters that whatever fits its topic fits into", () => {
  const wishes = new Map(readTopicsFile("redpanda/topics.yaml", Settings.parse({})).map((wish) => [wish.topic, wish]));
  const names = ["detection-results", "assessment-tasks", "risk-assessment-results", "risk-assessment-revisions"];
  expect([...wishes.keys()]).toEqual(names.flatMap((name) => [name, `${name}.dlq`]));
  const hours = [1, 2, 24, 24];
  for (const [i, name] of names.entries()) {
    const wish = wishes.get(name);
    expect(wish).toMatchObject({ shards: 16, copies: 3, retentionMs: (hours[i] ?? 0) * HOUR_MS });
    const dead = wishes.get(`${name}.dlq`);
    expect(dead).toMatchObject({ shards: 1, copies: 3, retentionMs: 168 * HOUR_MS, maxMessageBytes: 4 * 2 ** 20 });
    expect(dead?.maxMessageBytes).toBeGreaterThan(wish?.maxMessageBytes ?? 0);
  }
});

const OLDER = Settings.parse({ detectionsTopic: "detection-results-topic", tasksTopic: "assessment-tasks-topic" });

test("a topic's own fields go before the defaults, and names are those on the wire", () => {
  const path = file(`
defaults: { partitions: 4, maxBytes: 1.5 GiB, kafka: { compression.type: snappy } }
deadLetters: { retentionHours: 2 }
topics:
  detection-results: { partitions: 32, kafka: { segment.bytes: 1048576 } }
  assessment-tasks:
`);
  const [detections, dead, tasks] = readTopicsFile(path, OLDER);
  expect(detections).toMatchObject({
    ...{ topic: "detection-results-topic", shards: 32, copies: 3, retentionMs: HOUR_MS, maxBytes: 1.5 * 2 ** 30 },
    kafka: { "compression.type": "snappy", "segment.bytes": "1048576" },
  });
  expect(dead).toMatchObject({ topic: "detection-results-topic.dlq", shards: 1, retentionMs: 2 * HOUR_MS });
  expect(tasks).toMatchObject({ topic: "assessment-tasks-topic", shards: 4 });
});

test("each fault is told with its line and column", () => {
  const path = file("topics:\n  detection-results: { partitions: 0, maxBytes: much }\n  detections: {}\nmore: 1\n");
  const read = () => readTopicsFile(path, Settings.parse({}));
  expect(read).toThrow(/topics\.yaml:2:36: topics\.detection-results\.partitions/);
  expect(read).toThrow(/topics\.yaml:2:49: topics\.detection-results\.maxBytes: has to be a number of bytes/);
  expect(read).toThrow(/topics\.yaml:3:3: topics: there is no field "detections"/);
  expect(read).toThrow(/topics\.yaml:4:1: file: there is no field "more"/);
});

const wish: TopicWish = {
  ...{ topic: "t", shards: 16, copies: 3, retentionMs: HOUR_MS, maxBytes: 2 ** 28, maxMessageBytes: 2 ** 20 },
  kafka: { "compression.type": "snappy" },
};
const there = {
  ...{ topic: "t", shards: 16, copies: 3, messages: 0, bytes: null, config: kafkaConfigOf(wish, 16, 3) },
  known: Object.keys(kafkaConfigOf(wish, 16, 3)),
};

test("a topic that is as wished has no differences; one that is not there is missing", () => {
  expect(planOf(wish, there, 3, kafkaConfigOf)).toMatchObject({ missing: false, differences: [] });
  expect(planOf(wish, null, 3, kafkaConfigOf)).toMatchObject({ missing: true, differences: [] });
  // One broker cannot have three copies.
  const lone = { ...there, copies: 1, config: kafkaConfigOf(wish, 16, 1) };
  expect(planOf(wish, lone, 1, kafkaConfigOf).differences).toEqual([]);
});

test("partitions grow and never become fewer; copies are left alone; settings are set when told", () => {
  const fewer = { ...there, shards: 8, copies: 1, config: { ...kafkaConfigOf(wish, 16, 1), "retention.ms": "1" } };
  const plan = planOf(wish, fewer, 3, kafkaConfigOf);
  expect(plan.differences).toEqual([
    { what: "partitions", is: "8", wished: "16", kind: "grows" },
    { what: "replicas", is: "1", wished: "3", kind: "never" },
    { what: "retention.ms", is: "1", wished: "3600000", kind: "setting" },
  ]);
  expect(settingsOf(plan)).toEqual({ "retention.ms": "3600000" });
  const { "max.message.bytes": _, ...config } = kafkaConfigOf(wish, 32, 3);
  expect(planOf(wish, { ...there, shards: 32, config }, 3, kafkaConfigOf).differences).toEqual([
    { what: "partitions", is: "32", wished: "16", kind: "never" },
    { what: "max.message.bytes", is: "the broker's own", wished: "1048576", kind: "setting" },
  ]);
  // The store has no settings of its own.
  expect(planOf(wish, { ...there, copies: 1, config: null, known: null }, 1, () => null).differences).toEqual([]);
});

test("a setting that the broker does not have is no difference, unless the file itself wishes it", () => {
  const without = (name: string, from = there) => ({
    ...from,
    config: Object.fromEntries(Object.entries(from.config).filter(([what]) => what !== name)),
    known: from.known.filter((what) => what !== name),
  });
  expect(there.known).toContain("min.insync.replicas");
  expect(planOf(wish, without("min.insync.replicas"), 3, kafkaConfigOf).differences).toEqual([]);
  const plan = planOf(wish, without("compression.type"), 3, kafkaConfigOf);
  expect(plan.differences).toEqual([
    { what: "compression.type", is: "unknown to the broker", wished: "snappy", kind: "never" },
  ]);
  expect(settingsOf(plan)).toEqual({});
});
