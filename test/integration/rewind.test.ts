/** Rewinding the bridge's group, and other names for the topics, on the running pipeline. */
import { Redis } from "ioredis";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { AssessmentResult } from "../../src/messages.ts";
import { CONSUMER_GROUPS } from "../../src/names.ts";
import { deadLetterTopic, TOPICS } from "../../src/topics/topic-log.ts";
import { type Pipeline, startPipeline } from "../support/pipeline.ts";
import { runCommand } from "../support/topics-command.ts";

let world: Pipeline;
afterEach(() => world?.stop());

const rewind = (...flags: string[]) =>
  runCommand(["topics", "rewind", "--group", CONSUMER_GROUPS.bridge, ...flags], { REDIS_URL: world.redis.url });

test("rewinding judges nothing again that has an outcome; further back than outcomes are known it refuses", async () => {
  world = await startPipeline({ settings: { freshnessSeconds: 0, topicRetentionHours: 0.5 } });
  const ids = [...(await world.offer(3)), ...(await world.offer(2))];
  await world.outcomes(ids);
  // The bridge's own figure counts, not this command's: that would be 1 h.
  const far = await rewind("--to", "45m");
  expect([far.code, far.err]).toEqual([2, expect.stringMatching(/remembered for 30 min .*of the bridges.*--again/)]);
  expect(far.err).not.toContain("not known here");
  const again = await rewind("--to", "2h", "--again", "--dry-run");
  expect([again.code, again.out]).toEqual([0, expect.stringMatching(/2 messages come again.*Nothing was changed/s)]);
  const consuming = await rewind("--to", "10m");
  expect([consuming.code, consuming.err]).toEqual([1, expect.stringMatching(/GROUP_CONSUMING.*--force/)]);

  const forced = await rewind("--to", "10m", "--force");
  expect(forced.code).toBe(0);
  expect(forced.out).toMatch(/2 messages come again.*keep it: admission passes over what it knows.*Done\./s);
  // What was offered after them is judged, and nothing is unread: so they were read again.
  const later = [...(await world.offer(1)), ...(await world.offer(1, { cameraId: "other" }))];
  await world.outcomes(later);
  await expect
    .poll(() => world.topics.lag(TOPICS.detections, CONSUMER_GROUPS.bridge), { timeout: 15_000 })
    .toMatchObject({ messages: 0 });
  const results = world.results.map(({ taskId }) => taskId).sort();
  expect(results).toEqual([...ids, ...later].sort());
  const calls = world.provider.stats().accounts.reduce((sum, { ok }) => sum + ok, 0);
  expect(calls).toBe(results.length);
});

test("by other names: the roles read and write the topics that the setting names", async () => {
  world = await startPipeline({
    settings: { detectionsTopic: "detection-results-topic", resultsTopic: "risk-assessment-results-topic" },
  });
  const detection = { messageId: "m", cameraId: "cam", trafficGroups: [{ groupIndex: 1, objectCount: 1 }] };
  await world.topics.publish("detection-results-topic", [
    { key: "cam", value: Buffer.from("no JSON") },
    { key: "cam", value: Buffer.from(JSON.stringify(detection)) },
  ]);
  const first = async (topic: string) => {
    const ended = new AbortController();
    for await (const message of world.topics.tail(topic, "earliest", ended.signal)) {
      ended.abort();
      return message;
    }
    throw new Error(`nothing came on ${topic}`);
  };
  const result = AssessmentResult.parse(JSON.parse((await first("risk-assessment-results-topic")).value.toString()));
  expect(result.taskId).toBe("m_group1");
  expect((await first(deadLetterTopic("detection-results-topic"))).value.toString()).toBe("no JSON");
  // Whoever asks by our names finds them there, and nothing lies under those.
  await expect.poll(() => world.results.map(({ taskId }) => taskId), { timeout: 5_000 }).toEqual(["m_group1"]);
  const redis = new Redis(world.redis.url);
  onTestFinished(() => redis.disconnect());
  const ours = /(detection-results|risk-assessment-results)(?!-topic)/;
  expect((await redis.keys("*")).filter((key) => ours.test(key))).toEqual([]);
});
