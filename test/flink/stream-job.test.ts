/** The stream job on a real Flink and a real Kafka, beside our own bridge; run by hand: npm run test:flink. */
import fc from "fast-check";
import kafkajs from "kafkajs";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { groupToTaskMessage } from "../../src/bridge/group-to-task-message.ts";
import { groupsToTasks } from "../../src/bridge/groups-to-tasks.ts";
import { readDetection } from "../../src/bridge/read-detection.ts";
import type { AssessmentResult, TaskMessage } from "../../src/messages.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { TOPICS, type TopicLog, type TopicMessage } from "../../src/topics/topic-log.ts";
import { startKafka } from "../support/kafka.ts";
import { olderDetection, olderImage, pythonJson } from "../support/older-messages.ts";
import { olderVariants } from "../support/older-variants.ts";
import { type Pipeline, startPipeline } from "../support/pipeline.ts";
import { buildFlink, type FlinkCluster, startFlink } from "./flink-cluster.ts";

let kafka: LocalKafka;
let flink: FlinkCluster;
let job: string;
/** Of what came through our own bridge, in the first test. */
let byBridge: AssessmentResult[] = [];

const begun = performance.now();
const say = (text: string) => console.log(`${((performance.now() - begun) / 1000).toFixed(1).padStart(6)} s  ${text}`);

const submit = (more: Record<string, string> = {}, from?: string) =>
  flink.submit({ KAFKA_BROKERS: kafka.brokers.join(","), FLINK_CHECKPOINT_INTERVAL: "3 s", ...more }, from);

beforeAll(async () => {
  await buildFlink();
  say("the job is compiled, and Flink's jars are there");
  kafka = await startKafka();
  flink = await startFlink();
  await flink.jobManager.start();
  await flink.taskManager.start();
  say("Kafka, JobManager and TaskManager run");
});

afterAll(async () => {
  await flink?.stop();
  await kafka?.stop();
});

async function world(assessmentTasks: "off" | "read"): Promise<Pipeline> {
  const started = await startPipeline({
    settings: { kafkaBrokers: kafka.brokers, freshnessSeconds: 0, assessmentTasks },
  });
  onTestFinished(() => started.stop());
  return started;
}

/** A list to which what is on a topic comes by itself. */
function follow(topics: TopicLog, topic: string): TopicMessage[] {
  const messages: TopicMessage[] = [];
  const ended = new AbortController();
  onTestFinished(() => ended.abort());
  void (async () => {
    for await (const message of topics.tail(topic, "earliest", ended.signal)) messages.push(message);
  })().catch(() => {});
  return messages;
}

const soon = { timeout: 90_000, interval: 200 };
const taskIn = ({ value }: TopicMessage) => JSON.parse(value.toString()) as TaskMessage;
const endOf = ({ outcome, error }: AssessmentResult) => error?.code ?? outcome;

/** What no producer of ours or of the older system writes, and what it wrote when it was ill. */
function oddMessages(): Buffer[] {
  const index = fc.oneof(fc.integer({ min: 0, max: 2 }), fc.constant(1.5), fc.constant("1"), fc.constant(null));
  const box = fc.oneof(fc.constant([0, 0, 9.5, 1e3]), fc.array(fc.double(), { maxLength: 5 }), fc.constant(null));
  const object = fc.oneof(
    fc.record({ class: fc.string(), confidence: fc.double(), bbox: box, trackId: index }),
    fc.record({ class: fc.constant("car"), confidence: fc.constant(0.5), bbox: fc.constant([1, 2, 3, 4.25]) }),
    fc.jsonValue(),
  );
  const group = fc.oneof(
    fc.record({
      groupIndex: index,
      bbox: box,
      classes: fc.array(fc.string()),
      memberIndices: fc.array(fc.integer({ min: -1, max: 4 })),
    }),
    fc.jsonValue(),
  );
  const image = fc.record({
    groupIndex: index,
    imageBase64: fc.oneof(fc.string(), fc.constant(7)),
    imageHash: fc.jsonValue(),
  });
  const message = fc.record(
    {
      messageId: fc.oneof(fc.uuid(), fc.jsonValue()),
      cameraId: fc.oneof(fc.constant("odd"), fc.constant(7), fc.constant(2.5), fc.jsonValue()),
      timestamp: fc.oneof(fc.constant("2025-10-20T12:00:00Z"), fc.jsonValue()),
      detectedObjects: fc.oneof(fc.array(object, { maxLength: 4 }), fc.jsonValue()),
      trafficGroups: fc.oneof(fc.array(group, { maxLength: 3 }), fc.jsonValue()),
      groupImages: fc.oneof(fc.array(image, { maxLength: 3 }), fc.jsonValue()),
      imageWidth: fc.jsonValue(),
    },
    { requiredKeys: ["cameraId"] },
  );
  const made = fc.sample(message, { numRuns: 300, seed: 5 }).map((value) => Buffer.from(pythonJson(value)));
  const bytes = fc
    .sample(fc.uint8Array({ maxLength: 60 }), { numRuns: 50, seed: 5 })
    .map((value) => Buffer.from(value));
  const surrogate = `{"cameraId": "\\ud800", "messageId": "lone-\\udfff", "trafficGroups": [{"groupIndex": 1, "bbox": [0, 0, 1, 1]}]}`;
  return [
    ...made,
    ...bytes,
    Buffer.from(surrogate),
    Buffer.from(`{"cameraId": 1, "trafficGroups": ${"[".repeat(20_000)}`),
  ];
}

/** What the bridge would write for a detection that stood there; pictures as they came, without prefix. */
function expectedTasks(message: TopicMessage): object[] {
  const reading = readDetection(message.value);
  if (reading.kind === "unreadable") return [];
  const { detection } = reading;
  const { tasks } = groupsToTasks(detection, message, { freshnessSeconds: 0, reuseSeconds: 0 });
  return tasks.map(({ task }, i) => {
    const entry = detection.groups[i];
    if (!entry) throw new Error("there is a task for each group");
    const { traceparent: _, ...written } = groupToTaskMessage(detection, entry, task);
    const bare = entry.image?.imageBase64?.replace(/^data:image\/[a-z+.-]+;base64,/i, "") ?? "";
    // Of a group that cannot be read the bridge writes no task, since its result is known.
    return {
      ...written,
      groupImageBase64: entry.group ? bare : "",
      groupImageUrl: entry.group ? written.groupImageUrl : "",
    };
  });
}

const byId = (a: { taskId?: string }, b: { taskId?: string }) => ((a.taskId ?? "") < (b.taskId ?? "") ? -1 : 1);

test("the same detections through the job and through our own bridge: the same task ids, and tasks of the same content", async () => {
  const { topics, publish, offer, results } = await world("off");
  await topics.ensureTopic(TOPICS.tasks);
  const detections = follow(topics, TOPICS.detections);
  const tasks = follow(topics, TOPICS.tasks);
  const variants = olderVariants(100);
  const odd = oddMessages();
  const headers = { schema: "detection/1", traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
  await publish(variants.map(({ text, cameraId }) => ({ key: String(cameraId), value: Buffer.from(text), headers })));
  await offer(3);
  await publish(odd.map((value, i) => ({ key: `odd-${i}`, value })));
  job = await submit();
  await flink.untilRuns(job);
  say(
    `the job runs; ${variants.length} forms of older messages, one of ours and ${odd.length} odd ones are on detection-results`,
  );

  const sent = variants.length + 1 + odd.length;
  await expect.poll(() => detections.length, soon).toBe(sent);
  const expected = detections.flatMap(expectedTasks) as TaskMessage[];
  await expect.poll(() => tasks.length, soon).toBeGreaterThanOrEqual(expected.length);
  await expect.poll(() => results.length, soon).toBeGreaterThanOrEqual(expected.length);
  const ids = tasks.map(taskIn).map(({ taskId }) => taskId);
  expect(ids.toSorted()).toEqual(results.map(({ taskId }) => taskId).toSorted());
  byBridge = [...results];
  say(`the same ${ids.length} task ids by both ways`);

  expect(tasks.map(taskIn).toSorted(byId)).toEqual(JSON.parse(JSON.stringify(expected.toSorted(byId))));
  const traced = new Set(variants.map(({ cameraId }) => cameraId));
  for (const message of tasks) {
    const { cameraId } = taskIn(message);
    expect(message.key).toBe(String(cameraId).toWellFormed());
    const { traceparent } = headers;
    expect(message.headers).toEqual({ schema: "assessment-task/1", ...(traced.has(cameraId) && { traceparent }) });
  }
  const unreadable = detections.filter(({ value }) => readDetection(value).kind === "unreadable").length;
  const without = detections.filter((one) => expectedTasks(one).length === 0).length - unreadable;
  const counted = { detections_read: sent, detections_unreadable: unreadable, detections_without_groups: without };
  await expect.poll(() => flink.counters(), soon).toMatchObject({ ...counted, tasks_written: ids.length });
  say(`tasks of the same content; its counters say ${JSON.stringify(await flink.counters())}`);
});

test("what comes late goes on, what is nothing or too large stops nothing, all is counted; topics come when they come", async () => {
  const client = new kafkajs.Kafka({ clientId: "late", brokers: kafka.brokers, logLevel: 0 });
  const admin = client.admin();
  const producer = client.producer();
  await Promise.all([admin.connect(), producer.connect()]);
  const [from, to] = ["late-detections", "late-tasks"];
  const other = await submit({ DETECTIONS_TOPIC: from, TASKS_TOPIC: to, FLINK_GROUP: "late", FLINK_PARALLELISM: "1" });
  await flink.untilFailed(other);
  say("another job has failed for want of its topics, which are made now");
  await admin.createTopics({ waitForLeaders: true, topics: [from, to].map((topic) => ({ topic, numPartitions: 1 })) });
  const send = (value: string | null, ageMs = 0) => {
    const messages = [{ key: "1", value, timestamp: String(Date.now() - ageMs) }];
    return producer.send({ topic: from, messages, compression: kafkajs.CompressionTypes.GZIP });
  };
  const detection = (imageBase64: string) =>
    pythonJson(olderDetection({ groupImages: [olderImage(1, { imageBase64, dataUri: "" })] }));
  const usual = detection("/9j/");
  const counted = async (name: string) => (await flink.counters())[name] ?? 0;
  const heldBy = async (topic: string) => Number((await admin.fetchTopicOffsets(topic))[0]?.high ?? 0);

  await send(usual);
  await expect.poll(() => heldBy(to), soon).toBe(2);
  say("it runs, and has written the tasks of the first detection");
  const late = await counted("detections_late");
  // The watermark follows the newest by 5 s, a moment later; what is a minute old is behind it for certain.
  const sendOld = async () => {
    await send(usual, 60_000);
    return counted("detections_late");
  };
  await expect.poll(sendOld, soon).toBeGreaterThan(late);
  const [unreadable, tooLarge] = [
    await counted("detections_unreadable"),
    await counted("tasks_too_large_for_their_picture"),
  ];
  await send(null);
  await send(detection("A".repeat(2_000_000)));
  await send(usual);
  const read = await heldBy(from);
  await expect.poll(() => heldBy(to), soon).toBe(2 * (read - 1));
  await expect.poll(() => counted("tasks_too_large_for_their_picture"), soon).toBe(tooLarge + 1);
  expect(await counted("detections_unreadable")).toBe(unreadable + 1);
  say(
    `of ${read} messages ${(await counted("detections_late")) - late} late, 1 empty, 1 of 2 MB: each of the others has its two tasks`,
  );
  await flink.stopWithSavepoint(other);
  await Promise.all([admin.disconnect(), producer.disconnect()]);
});

test("the job stopped by a savepoint, its TaskManager killed, and all of Flink killed: each group is judged once", async () => {
  const { topics, publish, offer, outcomes, results } = await world("read");
  const tasks = follow(topics, TOPICS.tasks);
  // What the job had written in the first test is judged now, too.
  const twice = (end: string) => [end, end === "GROUP_UNREADABLE" ? "IMAGE_MISSING" : end].toSorted();
  const judged = byBridge.filter(({ taskId, error }) => !taskId.startsWith("offered-") && error?.code !== "IMAGE_GONE");
  expect(judged.length).toBeGreaterThan(30);
  const both = () => Map.groupBy(results, ({ taskId }) => taskId);
  await expect.poll(() => judged.every(({ taskId }) => both().get(taskId)?.length === 2), soon).toBe(true);
  for (const one of judged)
    expect(both().get(one.taskId)?.map(endOf).toSorted(), one.taskId).toEqual(twice(endOf(one)));
  say(`${judged.length} groups of the first test end by the job as they ended by the bridge`);

  const ids: string[] = [];
  const feeding = new AbortController();
  onTestFinished(() => feeding.abort());
  const fed = (async () => {
    for (let n = 0; !feeding.signal.aborted; n += 1) {
      if (n % 2) ids.push(...(await offer(2, { cameraId: `fed-${n % 8}` })));
      else {
        const older = olderDetection({ cameraId: n % 8 });
        await publish([{ key: String(n % 8), value: Buffer.from(pythonJson(older)) }]);
        ids.push(`${older.messageId}_group1`, `${older.messageId}_group2`);
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  })();
  const written = () => new Set(tasks.map((message) => taskIn(message).taskId)).size;
  fed.catch(() => {}); // awaited below
  /** What is written after a checkpoint is read again after a kill. */
  const someMore = async (count: number) => {
    const before = written();
    await expect.poll(written, { ...soon, interval: 20 }).toBeGreaterThanOrEqual(before + count);
  };

  await someMore(10);
  const savepoint = await flink.stopWithSavepoint(job);
  const gone = ids.length;
  say(`stopped by a savepoint; ${gone} groups so far`);
  await expect.poll(() => ids.length, soon).toBeGreaterThan(gone + 10);
  job = await submit({}, savepoint);
  await flink.untilRuns(job);
  await someMore(20);
  say("restored from it, and what came meanwhile was taken up");

  await flink.untilCheckpoint(job);
  await someMore(4);
  await flink.taskManager.kill("SIGKILL");
  say("the TaskManager is killed (kill -9)");
  await flink.untilInterrupted(job);
  await flink.taskManager.start();
  await flink.untilRuns(job);
  await someMore(20);
  say("another one has taken the job up from its last checkpoint");

  await flink.untilCheckpoint(job);
  await someMore(4);
  await Promise.all([flink.taskManager.kill("SIGKILL"), flink.jobManager.kill("SIGKILL")]);
  const checkpoint = flink.latestCheckpoint(job);
  say("JobManager and TaskManager are killed (kill -9)");
  await flink.jobManager.start();
  await flink.taskManager.start();
  job = await submit({}, checkpoint);
  await flink.untilRuns(job);
  await someMore(20);
  say("a new Flink has the job from its last checkpoint");

  feeding.abort();
  await fed;
  await outcomes(ids, 120_000);
  const [last = ""] = await offer(1); // behind it nothing of them can be hidden
  await outcomes([last], 60_000);
  const found = Map.groupBy(
    results.filter(({ taskId }) => ids.includes(taskId)),
    ({ taskId }) => taskId,
  );
  const again = tasks.filter((message) => ids.includes(taskIn(message).taskId)).length - ids.length;
  const outcomesOf = Map.groupBy([...found.values()].flat(), ({ outcome }) => outcome);
  say(
    `${ids.length} groups, ${again} tasks written twice, results: ${JSON.stringify(Object.fromEntries([...outcomesOf].map(([name, list]) => [name, list.length])))}`,
  );
  expect([...found.values()].filter((list) => list.length !== 1)).toEqual([]);
  expect(found.size).toBe(ids.length);
  expect([...outcomesOf.keys()].filter((outcome) => outcome !== "assessed" && outcome !== "reused")).toEqual([]);
  // Else nothing was shown about what comes twice.
  expect(again).toBeGreaterThan(0);
});
