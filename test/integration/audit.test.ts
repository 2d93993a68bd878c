/** The audit sees what is lost, what came twice and how long it took, from the topics alone. */
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { type Clock, systemClock } from "../../src/context.ts";
import type { Outcome } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { connectStore } from "../../src/store.ts";
import { createAudit } from "../../src/supervisor/audit.ts";
import { faultsOf, Report, showReport } from "../../src/supervisor/report.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { startRedis } from "../support/redis.ts";

const log = pino({ level: "silent" });

/** Time that runs twenty times as fast, so that a deadline need not be sat out. */
function quickClock(): Clock {
  const beganMs = systemClock.monotonicMs();
  const beganAtMs = systemClock.nowMs();
  const gone = () => (systemClock.monotonicMs() - beganMs) * 20;
  return {
    nowMs: () => beganAtMs + gone(),
    monotonicMs: () => beganMs + gone(),
    sleep: (ms, signal) => systemClock.sleep(ms / 20, signal),
  };
}

async function setup() {
  const server = await startRedis();
  const context = { clock: systemClock, log };
  const settings = { redisUrl: server.url, retentionMs: 3_600_000, maxBytesPerTopic: 1e8 };
  const redis = await connectStore(server.url, context);
  onTestFinished(() => redis.disconnect());
  const topics = createRedisTopicLog(settings, context);
  await topics.start();
  onTestFinished(() => topics.stop());
  const clock = quickClock();
  const audit = createAudit(
    {
      redisUrl: server.url,
      topics: createRedisTopicLog(settings, context),
      freshnessSeconds: () => 5,
      counts: (camera) => camera !== "not-mine",
    },
    { clock, log },
  );
  const detect = (messageId: string, groups: number, cameraId = "gate") => {
    const atMs = clock.nowMs(); // read once: it runs twenty times as fast
    return topics.publish(TOPICS.detections, [
      {
        key: cameraId,
        value: Buffer.from(
          JSON.stringify({
            messageId,
            cameraId,
            timestamp: "t",
            capturedAt: new Date(atMs).toISOString(),
            detectedAt: new Date(atMs + 40).toISOString(),
            trafficGroups: Array.from({ length: groups }, (_, i) => ({ groupIndex: i + 1 })),
          }),
        ),
      },
    ]);
  };
  const finish = async (taskId: string, outcome: Outcome, revision = 1, cameraId = "gate") => {
    const at = 1_000_000;
    const timings = {
      ...{ capturedAt: at, detectedAt: at + 40, admittedAt: at + 50, takenAt: at + 250, startedAt: at + 255 },
      ...{ answeredAt: at + 1_255, completedAt: at + 1_260, publishedAt: at + 1_265 },
    };
    const result = {
      ...{
        messageId: `${taskId}_result`,
        taskId,
        requestId: "r",
        cameraId,
        timestamp: "t",
        groupIndex: 1,
        outcome,
        revision,
        results: [],
      },
      metadata: {
        ...{
          llmLatency: 1,
          llmModel: "m",
          keyGroup: "a",
          apiKeyId: "k",
          attempts: 1,
          retryCount: 0,
          tokens: null,
          simulated: true,
        },
        timings,
      },
    };
    await topics.publish(TOPICS.results, [{ key: cameraId, value: Buffer.from(JSON.stringify(result)) }]);
    const shown = JSON.stringify({ ...timings, shownAt: at + 1_285 });
    await redis.xadd(KEYS.shown, "*", "taskId", taskId, "revision", revision, "outcome", outcome, "json", shown);
  };
  return { audit, detect, finish, topics };
}

test("what is lost and what came twice is counted; what came before, or is another's, is not", async () => {
  const { audit, detect, finish, topics } = await setup();
  await topics.ensureTopic(TOPICS.detections);
  await topics.ensureTopic(TOPICS.results);
  await detect("before", 3);
  await audit.start();
  onTestFinished(() => audit.stop());
  await finish("before_group1", "assessed");
  await detect("other", 2, "not-mine");
  await detect("m1", 2);
  await detect("m2", 1);
  await detect("m3", 0);
  await topics.publish(TOPICS.detections, [{ key: "gate", value: Buffer.from("no JSON at all") }]);
  await finish("m1_group1", "assessed");
  await finish("m1_group1", "assessed");
  await finish("m2_group1", "failed");
  await finish("m2_group1", "assessed", 2);
  await audit.drain();
  const report = Report.parse(audit.report());
  expect(report).toMatchObject({
    groups: 3,
    cameras: 1,
    outcomes: { assessed: 1, reused: 0, failed: 1, expired: 0, superseded: 0 },
    lost: 1,
    duplicates: 1,
    provider: { simulated: true },
  });
  expect(audit.someLost()).toEqual(["m1_group2"]);
  expect(faultsOf(report)).toEqual(["1 groups were lost: they have no outcome", "1 results came twice"]);
  expect(showReport(report)).toMatch(/lost, duplicates +1, 1/);
});

test("overhead is what is left of endToEnd without the LLM, the detector and the wait for quota", async () => {
  const { audit, detect, finish } = await setup();
  await audit.start();
  onTestFinished(() => audit.stop());
  await detect("m", 1);
  await finish("m_group1", "assessed");
  await audit.drain();
  const report = audit.report();
  expect(faultsOf(report)).toEqual([]);
  // 1,285 − 1,000 (LLM) − 40 (detector) − 200 (quota); percentiles are right to within 1 %.
  const about = (ms: number) => ({ p50: expect.closeTo(ms, -Math.log10(ms / 50)) });
  expect(report.latencyMs).toMatchObject({
    captureToDetected: about(40),
    endToEnd: about(1_285),
    llm: about(1_000),
    overhead: about(45),
    publishedToShown: about(20),
  });
});

test("nothing seen is a fault of its own", async () => {
  const { audit, detect } = await setup();
  await audit.start();
  onTestFinished(() => audit.stop());
  await detect("m", 0);
  await audit.drain();
  expect(faultsOf(audit.report())).toEqual(["no group was seen"]);
});
