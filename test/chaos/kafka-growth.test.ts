/**
 * Partitions are raised from 16 to 32 by the command for it, under load, on a real Kafka broker, with the real roles: the new ones
 * are written and read within seconds, and every group has one outcome, for a reader of committed messages too.
 * VIGILANE_LONG=1: 25 groups a second, to 32 and then to 48.
 */
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { AssessmentResult } from "../../src/messages.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { readByLibrdkafka, resultsByLibrdkafka } from "../support/kcat.ts";
import { runCommand } from "../support/topics-command.ts";
import { startWorld, type World } from "../support/world.ts";

const LONG = process.env.VIGILANE_LONG === "1";
const GROUPS_PER_SECOND = LONG ? 25 : 10;
/** As topics are made; then as the file says. */
const GROWTH = LONG ? [16, 32, 48] : [16, 32];
/** Producers notice within 10 s, consumers within 5 s: three times that. */
const USED_WITHIN_MS = 30_000;
const READ_WITHIN_MS = 15_000;
const SETTLES_WITHIN_MS = 90_000;
/** So many messages in new partitions of both topics, before it goes on. */
const ENOUGH = 20;

test.skipIf(!brokerThere)(
  "partitions raised under load are used and read within seconds, and nothing is lost or doubled",
  {
    timeout: LONG ? 600_000 : 180_000,
  },
  async () => {
    const kafka = await someKafka();
    onTestFinished(() => kafka.stop());
    const mark = randomUUID().slice(0, 8);
    const topicNames = { detectionsTopic: `detections-${mark}`, resultsTopic: `results-${mark}` };
    const here = await startWorld({ kafkaBrokers: kafka.brokers, topicNames });
    onTestFinished(() => here.stop());

    const file = join(here.data, "topics.yaml");
    const grow = async (partitions: number) => {
      const wish = `{ partitions: ${partitions} }`;
      writeFileSync(file, `topics:\n  detection-results: ${wish}\n  risk-assessment-results: ${wish}\n`);
      const said = await runCommand(["topics", "create", "--file", file], {
        KAFKA_BROKERS: kafka.brokers.join(","),
        VIGILANE_DETECTIONS_TOPIC: topicNames.detectionsTopic,
        VIGILANE_RESULTS_TOPIC: topicNames.resultsTopic,
      });
      expect(said).toMatchObject({
        code: 0,
        out: expect.stringMatching(new RegExp(`partitions: \\d+ → ${partitions}`)),
      });
    };

    const offering = here.offer({ groupsPerSecond: GROUPS_PER_SECOND });
    await here.nextResult();
    const usedMs: number[] = [];
    for (const [nth, partitions] of GROWTH.slice(1).entries()) {
      await grow(partitions);
      const fromMs = performance.now();
      const old = GROWTH[nth] ?? 0;
      await Promise.all([TOPICS.detections, TOPICS.results].map((topic) => enoughBehind(here, topic, old)));
      usedMs.push(Math.round(performance.now() - fromMs));
    }
    const ids = await offering.end();
    const { lost, doubled, results } = await here.settled(ids, SETTLES_WITHIN_MS);
    expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
    expect(results.filter(({ outcome }) => outcome !== "assessed")).toEqual([]);
    expect(await here.countedByResults(ids.length)).toBe(ids.length);
    const committed = await resultsByLibrdkafka(kafka.brokers, topicNames.resultsTopic);
    expect(committed.map(({ taskId }) => taskId).toSorted()).toEqual(ids.toSorted());

    // What the log took into a new partition was admitted soon.
    const admittedAt = new Map(committed.map(({ taskId, metadata }) => [taskId, metadata.timings.admittedAt ?? 0]));
    const inNew = (await readByLibrdkafka(kafka.brokers, topicNames.detectionsTopic)).filter(
      ({ partition }) => partition >= (GROWTH[0] ?? 0),
    );
    const waitedMs = inNew.map(({ appendedAtMs, value }) => {
      const { messageId } = JSON.parse(value) as { messageId: string };
      return (admittedAt.get(`${messageId}_group1`) ?? Number.POSITIVE_INFINITY) - appendedAtMs;
    });
    expect(waitedMs.length).toBeGreaterThanOrEqual(ENOUGH);
    expect(Math.max(...waitedMs)).toBeLessThan(READ_WITHIN_MS);
    console.log(
      `${ids.length} groups; ${ENOUGH} in new partitions of both topics after ${usedMs.join(", ")} ms; longest in a new one before its admission ${Math.round(Math.max(...waitedMs))} ms`,
    );
  },
);

/** Resolves when a topic has enough messages in partitions from `first` on. */
async function enoughBehind({ topics }: World, topic: string, first: number): Promise<void> {
  const enough = new AbortController();
  const late = AbortSignal.timeout(USED_WITHIN_MS);
  let count = 0;
  for await (const { shard, value } of topics.tail(topic, "earliest", AbortSignal.any([enough.signal, late]))) {
    if (shard < first) continue;
    if (topic === TOPICS.results) AssessmentResult.parse(JSON.parse(value.toString()));
    count += 1;
    if (count >= ENOUGH) enough.abort();
  }
  expect(count, `messages in new partitions of ${topic} within ${USED_WITHIN_MS} ms`).toBeGreaterThanOrEqual(ENOUGH);
}
