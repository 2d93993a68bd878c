import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { afterEach, expect, test } from "vitest";
import { assessmentQueueName, BULLMQ_PREFIX } from "../../src/names.ts";
import { AssessmentJob } from "../../src/queues/assessment-queue.ts";
import { deadLetterTopic, TOPICS } from "../../src/topics/topic-log.ts";
import { mostWithin, secondLessDelays } from "../support/most-within.ts";
import { type Pipeline, startPipeline } from "../support/pipeline.ts";

let world: Pipeline;
afterEach(() => world?.stop());

test("each group of a detection is judged once, with its moments in order", async () => {
  world = await startPipeline();
  const ids = [...(await world.offer(3)), ...(await world.offer(2, { cameraId: 0 }))];
  const found = await world.outcomes(ids);
  for (const id of ids) {
    const [result, ...more] = found.get(id) ?? [];
    expect(more).toEqual([]);
    expect(result).toMatchObject({
      outcome: "assessed",
      revision: 1,
      metadata: { simulated: true, attempts: 1, llmModel: "simulated-vision" },
    });
    expect(result?.results).toHaveLength(1);
    const t = result?.metadata.timings;
    const moments = [t?.admittedAt, t?.takenAt, t?.startedAt, t?.answeredAt, t?.completedAt, t?.publishedAt].map(
      Number,
    );
    expect(moments).toEqual(moments.toSorted((a, b) => a - b));
  }
});

test("an unreadable envelope goes to the dead letters; a bad group fails alone; the next message is processed", async () => {
  world = await startPipeline();
  const bytes = Buffer.from([0xff, 0x00, 0x7b, 0x80]);
  await world.publish([{ key: "cam", value: bytes }]);
  const [good] = await world.offer(1);
  const bad = {
    cameraId: "cam",
    messageId: "bad",
    trafficGroups: [
      { groupIndex: 1 },
      { groupIndex: 2, objectCount: 0, bbox: [0, 0, 1, 1], classes: [], averageConfidence: 0, memberIndices: [] },
    ],
  };
  await world.publish([{ key: "cam", value: Buffer.from(JSON.stringify(bad)) }]);
  const found = await world.outcomes([good ?? "", "bad_group1", "bad_group2"]);
  const endOf = (id = "") => found.get(id)?.map((result) => result.error?.code ?? result.outcome);
  expect([endOf(good), endOf("bad_group1"), endOf("bad_group2")]).toEqual([
    ["assessed"],
    ["GROUP_UNREADABLE"],
    ["IMAGE_MISSING"],
  ]);
  const ended = new AbortController();
  for await (const letter of world.topics.tail(deadLetterTopic(TOPICS.detections), "earliest", ended.signal)) {
    expect(letter.value.equals(bytes)).toBe(true);
    expect(JSON.stringify(letter.headers)).toContain("ENVELOPE_UNREADABLE");
    break;
  }
  ended.abort();
});

test("messages that are too much for us hold nobody up, and each of their groups has its outcome", async () => {
  world = await startPipeline();
  const base = { cameraId: "cam", detectedObjects: [], groupImages: [] };
  const group = { objectCount: 0, bbox: [0, 0, 1, 1], classes: [], averageConfidence: 0, memberIndices: [0] };
  const deep = `${"[".repeat(5_000)}${"]".repeat(5_000)}`;
  const odd = [
    JSON.stringify({ ...base, messageId: "huge", trafficGroups: [{ groupIndex: 1e300 }] }),
    JSON.stringify({ ...base, messageId: "lone-\ud800", trafficGroups: [{ ...group, groupIndex: 1 }] }),
    JSON.stringify({ ...base, cameraId: "\udfff", messageId: "camera", trafficGroups: [{ ...group, groupIndex: 1 }] }),
    `{"messageId":"deep","cameraId":"cam","trafficGroups":[{"groupIndex":1,"objectCount":1,"bbox":[0,0,1,1],"classes":[],"averageConfidence":0,"memberIndices":[0],"x":${deep}}],"detectedObjects":[{"class":"car","confidence":1,"bbox":[0,0,1,1],"y":${deep}}]}`,
  ];
  await world.publish(odd.map((text) => ({ key: "cam", value: Buffer.from(text) })));
  const [good = ""] = await world.offer(1);
  const ids = ["huge_group1", "lone-\ud800_group1", "camera_group1", "deep_group1"];
  const found = await world.outcomes([...ids, good]);
  expect(ids.map((id) => found.get(id)?.map((result) => result.outcome))).toEqual(ids.map(() => ["failed"]));
  expect(found.get(good)?.map((result) => result.outcome)).toEqual(["assessed"]);
});

test("a broken answer is asked again once, then the task fails and is never 'none'", async () => {
  world = await startPipeline();
  world.provider.setFaults({ brokenJsonRate: 1 });
  const ids = await world.offer(1);
  const [result] = (await world.outcomes(ids)).get(ids[0] ?? "") ?? [];
  expect(result).toMatchObject({
    outcome: "failed",
    results: [],
    error: { code: "VERDICT_UNREADABLE" },
    metadata: { attempts: 2 },
  });
  world.provider.setFaults(null);
});

test("server errors are tried elsewhere; a dead key costs only its own share", async () => {
  world = await startPipeline();
  world.provider.setFaults({ deadKeys: ["sim-key-01"] }, "simulated-01");
  world.provider.setFaults({ status: 500 }, "simulated-02");
  const ids = (
    await Promise.all(Array.from({ length: 12 }, (_, i) => world.offer(2, { cameraId: `cam-${i}` })))
  ).flat();
  const found = await world.outcomes(ids);
  expect([...found.values()].map(([r]) => r?.outcome)).toEqual(ids.map(() => "assessed"));
});

test("while a group cools, BullMQ's own tools show it, and only then", async () => {
  world = await startPipeline();
  const redis = new Redis(world.redis.url, { maxRetriesPerRequest: null });
  const queues = Array.from(
    { length: 10 },
    (_, i) =>
      new Queue(assessmentQueueName(`simulated-${String(i + 1).padStart(2, "0")}`), {
        connection: redis,
        prefix: BULLMQ_PREFIX,
      }),
  );
  const limited = async () =>
    (await Promise.all(queues.map((queue) => queue.getRateLimitTtl(1_000_000_000)))).filter((ttl) => ttl > 0).length;
  await world.outcomes(await world.offer(3));
  expect(await limited()).toBe(0);
  world.provider.setFaults({ status: 429, calls: 1 }, "simulated-01");
  for (let i = 0; (await limited()) === 0; i++) {
    expect(i).toBeLessThan(40);
    await world.outcomes(await world.offer(2, { cameraId: `cam-${i}` }));
  }
  await Promise.all(queues.map((queue) => queue.close()));
  redis.disconnect();
});

test("a provider that hangs: the deadline ends the call and blames nobody", async () => {
  world = await startPipeline({ settings: { freshnessSeconds: 2 } });
  world.provider.setFaults({ hang: true });
  const ids = await world.offer(1);
  const [result] = (await world.outcomes(ids)).get(ids[0] ?? "") ?? [];
  expect(result).toMatchObject({ outcome: "expired" });
  const redis = new Redis(world.redis.url);
  const group = await redis.hgetall(`{vl}:group:${result?.metadata.keyGroup}`);
  redis.disconnect();
  expect(Object.keys(group).filter((field) => field.startsWith("fail:") || field === "coolUntil")).toEqual([]);
});

test("200 jobs put straight into a resting group's queue without a lease all run, and no window is exceeded", async () => {
  const limits = { requestsPerSecond: 20, requestsPerMinute: 1_200 };
  const bar = secondLessDelays(limits.requestsPerSecond);
  const keys = join(mkdtempSync(join(tmpdir(), "vigilane-keys-")), "keys.yaml");
  const groups = ["busy", "resting"].map((id) => ({ id, keys: [`secret-${id}`], windows: limits }));
  const line = ({ id }: { id: string }) =>
    `  - { id: ${id}, provider: simulated, windows: ${JSON.stringify(limits)}, keys: [{ id: key, secret: secret-${id} }] }`;
  writeFileSync(keys, `keyGroups:\n${groups.map(line).join("\n")}\n`);
  world = await startPipeline({
    simulator: {
      mode: "countOnly",
      accounts: groups.map((one) => ({ ...one, windows: { ...limits, others: [bar] } })),
    },
    settings: { freshnessSeconds: 0, keys },
  });
  const redis = new Redis(world.redis.url, { maxRetriesPerRequest: null });
  const queues = groups.map(
    ({ id }) => new Queue(assessmentQueueName(id), { connection: redis, prefix: BULLMQ_PREFIX }),
  );
  const [model] = await world.offer(1);
  await world.outcomes([model ?? ""]);
  const counts = await Promise.all(queues.map((queue) => queue.getJobs(["completed"])));
  const { task } = AssessmentJob.parse(counts.flat()[0]?.data);
  const resting = queues[counts.findIndex((jobs) => jobs.length === 0)];
  const tasks = Array.from({ length: 200 }, (_, i) => ({
    ...task,
    taskId: `by-hand-${i}_group1`,
    requestId: `by-hand-${i}`,
    capturedAtMs: Date.now(),
  }));
  await resting?.addBulk(tasks.map((one) => ({ name: "by hand", data: { task: one } })));
  const found = await world.outcomes(
    tasks.map((one) => one.taskId),
    60_000,
  );
  expect([...found.values()].every((results) => results.length === 1 && results[0]?.outcome === "assessed")).toBe(true);
  for (const { id, windows } of world.provider.stats().accounts)
    expect(windows[bar.name]?.most, id).toBeLessThanOrEqual(bar.requests);
  for (const { id } of groups) {
    const stamps = [...found.values()].flat().filter(({ metadata }) => metadata.keyGroup === id);
    const startedAt = stamps.map(({ metadata }) => metadata.timings.startedAt ?? 0).toSorted((a, b) => a - b);
    expect(startedAt.length, id).toBeGreaterThan(limits.requestsPerSecond);
    expect(mostWithin(startedAt, 1_000), id).toBeLessThanOrEqual(limits.requestsPerSecond);
  }
  await Promise.all(queues.map((queue) => queue.close()));
  redis.disconnect();
});
