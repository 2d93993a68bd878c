/**
 * Any bytes on any topic: what can be read has its outcome, the rest lies among the dead letters with its reason and its original
 * bytes, and the next message is processed. On a real Redis, through the real roles.
 */
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { readDetection } from "../../src/bridge/read-detection.ts";
import { readTask } from "../../src/bridge/read-task.ts";
import { readResult } from "../../src/read-result.ts";
import { createResults } from "../../src/roles/results.ts";
import {
  DEAD_LETTER_HEADERS,
  deadLetterTopic,
  TOPICS,
  type TopicLog,
  type TopicMessage,
} from "../../src/topics/topic-log.ts";
import { olderDetection, olderImage, olderTask, pythonJson } from "../support/older-messages.ts";
import { type Pipeline, silent, startPipeline } from "../support/pipeline.ts";
import { resultOf } from "../support/results.ts";

const RUNS = process.env.VIGILANE_LONG ? 150 : 10;
const LIMIT_MS = 240_000;

const freshId = () => `fresh-${randomUUID()}`;

/** A good message, some bytes of which are others. */
const spoilt = (make: () => object) =>
  fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }).map((changes) => {
    const bytes = Buffer.from(pythonJson(make()));
    for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
    return bytes;
  });

/** By these it is known again: two of one name and content have one outcome. */
const NAMES = ["messageId", "taskId", "requestId"];

/** A good message, some fields of which hold anything, or are not there. */
const odd = (make: () => object) => {
  const names = fc.constantFrom(...Object.keys(make()).filter((name) => !NAMES.includes(name)));
  return fc
    .dictionary(names, fc.option(fc.jsonValue(), { nil: undefined }), { maxKeys: 3 })
    .map((fields) => Buffer.from(pythonJson({ ...make(), ...fields })));
};

const deep = fc.nat(20_000).map((depth) => Buffer.from(`${"[".repeat(depth)}${"]".repeat(depth)}`));
const raw = fc.uint8Array({ maxLength: 500 }).map((array) => Buffer.from(array));
const json = fc.json().map((text) => Buffer.from(text));

/** As many as come in a batch. */
const anyMessages = (make: () => object) =>
  fc.array(fc.oneof(raw, json, deep, spoilt(make), odd(make)), { minLength: 1, maxLength: 30 });

async function world(settings: object = {}) {
  const pipeline = await startPipeline({ settings: { freshnessSeconds: 0, ...settings } });
  onTestFinished(() => pipeline.stop());
  return pipeline;
}

/** The dead letters of a topic, as they come. */
async function lettersOf(topics: TopicLog, topic: string): Promise<TopicMessage[]> {
  const letters: TopicMessage[] = [];
  const ended = new AbortController();
  onTestFinished(() => ended.abort());
  await topics.ensureTopic(deadLetterTopic(topic));
  void (async () => {
    for await (const letter of topics.tail(deadLetterTopic(topic), "earliest", ended.signal)) letters.push(letter);
  })().catch(() => {});
  return letters;
}

/** Those of `sent` that are no dead letters. Each letter is one of `sent`, byte for byte, and says why it is there. */
function without(letters: readonly TopicMessage[], topic: string, sent: readonly Buffer[]): Buffer[] {
  const open = sent.map((value) => value.toString("base64"));
  for (const { value, headers } of letters) {
    const at = open.indexOf(value.toString("base64"));
    expect(at).toBeGreaterThanOrEqual(0);
    open.splice(at, 1);
    expect(headers).toMatchObject({
      [DEAD_LETTER_HEADERS.topic]: topic,
      [DEAD_LETTER_HEADERS.code]: "ENVELOPE_UNREADABLE",
      [DEAD_LETTER_HEADERS.message]: expect.stringMatching(/./),
    });
  }
  return open.map((text) => Buffer.from(text, "base64"));
}

/** All on one shard, in their order, and a good one behind them. */
const publish = ({ topics }: Pipeline, topic: string, values: readonly Buffer[], good: object) =>
  topics.publish(
    topic,
    [...values, Buffer.from(pythonJson(good))].map((value) => ({ key: "1", value })),
  );

for (const [what, topic, settings, read, make, good] of [
  [
    "detections",
    TOPICS.detections,
    {},
    readDetection,
    () =>
      olderDetection({ messageId: freshId(), groupImages: [olderImage(1, { imageBase64: "/9j/4AAQ", dataUri: "" })] }),
    () => olderDetection({ messageId: freshId() }),
  ],
  [
    "tasks",
    TOPICS.tasks,
    { assessmentTasks: "read" },
    readTask,
    () => olderTask(olderDetection({ messageId: freshId() }), 0, { groupImageBase64: "/9j/4AAQ" }),
    () => olderTask(olderDetection({ messageId: freshId() }), 0),
  ],
] as const) {
  test(
    `any bytes on the topic of ${what}: an outcome or a dead letter, and the next one is judged`,
    async () => {
      const pipeline = await world(settings);
      const letters = await lettersOf(pipeline.topics, topic);
      let groups = 0;
      let readOddly = 0;
      await fc.assert(
        fc.asyncProperty(anyMessages(make), async (values) => {
          const before = letters.length;
          const next = good();
          const requestId = "requestId" in next ? next.requestId : next.messageId;
          await publish(pipeline, topic, values, next);
          const found = await pipeline.outcomes([`${requestId}_group1`]);
          expect(found.get(`${requestId}_group1`)?.map(({ outcome }) => outcome)).toEqual(["assessed"]);
          const readings = [...values, Buffer.from(pythonJson(next))].map((value) => read(value));
          groups += readings.reduce(
            (sum, one) => sum + (one.kind === "detection" ? one.detection.groups.length : 0),
            0,
          );
          await expect.poll(() => pipeline.results.length, { timeout: 20_000 }).toBe(groups);
          readOddly += readings.slice(0, -1).filter(({ kind }) => kind === "detection").length;
          const readable = values.filter((_, i) => readings[i]?.kind === "detection");
          await expect.poll(() => letters.length - before).toBeGreaterThanOrEqual(values.length - readable.length);
          const left = without(letters.slice(before), topic, values);
          for (const value of left) expect(readable.some((other) => other.equals(value))).toBe(true);
        }),
        { numRuns: RUNS },
      );
      expect([readOddly > 0, letters.length > 0]).toEqual([true, true]); // both were tried
    },
    LIMIT_MS,
  );
}

test(
  "any bytes on the topic of results: taken in or a dead letter, and the next one is taken in",
  async () => {
    const pipeline = await world();
    const results = createResults(pipeline.settings, silent);
    onTestFinished(() => results.stop());
    await results.start();
    const letters = await lettersOf(pipeline.topics, TOPICS.results);
    let sent = 0;
    let readable = 0;
    const make = () => resultOf({ taskId: `${freshId()}_group1`, cameraId: 1 });
    const older = () => {
      const { taskId: _, outcome: _outcome, revision: _revision, ...result } = make();
      return result;
    };
    await fc.assert(
      fc.asyncProperty(anyMessages(make), anyMessages(older), async (ours, theirs) => {
        const values = [...ours, ...theirs];
        const before = letters.length;
        await publish(pipeline, TOPICS.results, values, make());
        sent += values.length + 1;
        const seen = () => [...results.detail().matchAll(/\d+/g)].reduce((sum, [count]) => sum + Number(count), 0);
        await expect.poll(seen, { timeout: 20_000 }).toBe(sent);
        const good = values.filter((value) => typeof readResult({ value, appendedAtMs: Date.now() }) !== "string");
        readable += good.length;
        await expect.poll(() => letters.length - before).toBe(values.length - good.length);
        expect(without(letters.slice(before), TOPICS.results, values)).toHaveLength(good.length);
      }),
      { numRuns: RUNS },
    );
    expect([readable > 0, letters.length > 0]).toEqual([true, true]);
  },
  LIMIT_MS,
);
