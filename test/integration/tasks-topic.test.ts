/** The topic assessment-tasks between our bridge and others: an older task generator or scheduler, a stream job, another vigilane. */
import sharp from "sharp";
import { expect, onTestFinished, test } from "vitest";
import { isInShare } from "../../src/bridge/camera-share.ts";
import { TaskMessage } from "../../src/messages.ts";
import { createBridge } from "../../src/roles/bridge.ts";
import type { Settings } from "../../src/settings.ts";
import { deadLetterTopic, TOPICS, type TopicLog, type TopicMessage } from "../../src/topics/topic-log.ts";
import { base64, olderDetection, olderGroup, olderImage, olderTask, pythonJson } from "../support/older-messages.ts";
import { crop, type Pipeline, silent, startPipeline } from "../support/pipeline.ts";

async function world(settings: Partial<Settings>): Promise<Pipeline> {
  const started = await startPipeline({ settings: { freshnessSeconds: 0, ...settings } }); // nothing is superseded
  onTestFinished(() => started.stop());
  return started;
}

/** What is on a topic, in the order of its coming, up to `count`; later ones come into the list by themselves. */
async function messagesOf(topics: TopicLog, topic: string, count: number): Promise<TopicMessage[]> {
  const ended = new AbortController();
  onTestFinished(() => ended.abort());
  const messages: TopicMessage[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  void (async () => {
    for await (const message of topics.tail(topic, "earliest", ended.signal))
      if (messages.push(message) >= count) resolve();
  })().catch(() => {});
  await promise;
  return messages;
}

const tasksIn = (messages: readonly TopicMessage[]) =>
  messages.map(({ value }) => TaskMessage.parse(JSON.parse(value.toString())));

const say = (value: object, key = "1") => ({ key, value: Buffer.from(pythonJson(value)) });

test("a stated share of the cameras is left to those who read tasks; no group goes both ways, and none twice", async () => {
  const share = 0.5;
  const { publish, offer, outcomes, results, topics } = await world({
    ...{ assessmentTasks: "write", assessmentTasksShare: share, inlineImages: true },
  });
  const cameras = Array.from({ length: 12 }, (_, n) => `camera-${n}`);
  const theirs = cameras.filter((camera) => isInShare(camera, share));
  expect([theirs.length > 2, theirs.length < 10]).toEqual([true, true]);
  const ids = new Map<string, string[]>();
  for (const cameraId of cameras) ids.set(cameraId, await offer(2, { cameraId }));
  // An older producer's, whose second group has no picture; the whole message comes a second time.
  const older = olderDetection({ cameraId: theirs[0], groupImages: [olderImage(1)] });
  await publish([say(older, theirs[0]), say(older, theirs[0])]);

  const ours = cameras.filter((camera) => !theirs.includes(camera));
  const judged = await outcomes(ours.flatMap((camera) => ids.get(camera) ?? []));
  expect([...judged.values()].map((found) => found.map(({ outcome }) => outcome))).toEqual(
    [...judged].map(() => ["assessed"]),
  );
  const wanted = [...theirs.flatMap((camera) => ids.get(camera) ?? []), `${older.messageId}_group1`].toSorted();
  await messagesOf(topics, TOPICS.tasks, wanted.length);
  // What nobody can judge has its result from us.
  const bare = `${older.messageId}_group2`;
  expect((await outcomes([bare])).get(bare)).toMatchObject([{ outcome: "failed", error: { code: "IMAGE_MISSING" } }]);
  const [last = ""] = await offer(1, { cameraId: theirs[0] as string });
  const all = await messagesOf(topics, TOPICS.tasks, wanted.length + 1);
  const tasks = tasksIn(all);
  expect(tasks.map(({ taskId }) => taskId).toSorted()).toEqual([...wanted, last].toSorted());
  expect(results.filter(({ cameraId }) => theirs.includes(String(cameraId))).map(({ taskId }) => taskId)).toEqual([
    bare,
  ]);
  for (const [i, { key }] of all.entries()) expect(key).toBe(tasks[i]?.cameraId);
  for (const task of tasks) {
    const bytes = Buffer.from(task.groupImageBase64, "base64");
    expect(await sharp(bytes).metadata()).toMatchObject({ format: "jpeg", width: 64 });
    expect(task.groupImageUrl).toBe("");
  }
  // As the older generator would have written it, but for the message's own id.
  const { messageId: _, ...as } = olderTask(older, 0);
  expect(tasks.find(({ requestId }) => requestId === older.messageId)).toMatchObject(as);
});

test("a share of the cameras is chosen by their ids alone, and a larger one only adds some", () => {
  const cameras = Array.from({ length: 2_000 }, (_, n) => `camera-${n}`);
  const of = (share: number) => cameras.filter((camera) => isInShare(camera, share));
  expect([of(0).length, of(1).length]).toEqual([0, 2_000]);
  expect(Math.abs(of(0.25).length - 500)).toBeLessThan(100);
  expect(of(0.25).filter((camera) => !isInShare(camera, 0.3))).toEqual([]);
});

test("tasks of an older generator are judged instead of detections, each once", async () => {
  const { topics, outcomes, offer, results } = await world({ assessmentTasks: "read" });
  const [unread = ""] = await offer(1); // on the topic of detections, which somebody else reads
  const detection = olderDetection({
    trafficGroups: [olderGroup(1, [0, 1]), olderGroup(2, [2, 3])],
    groupImages: [olderImage(1), olderImage(2), olderImage(3)],
  });
  const other = await sharp(crop).negate().jpeg().toBuffer();
  const tasks = [
    olderTask(detection, 0),
    olderTask(detection, 1, { groupImageBase64: `data:image/jpeg;base64,${base64}` }),
    olderTask(detection, 2), // its group is unknown: every object may be in it
    olderTask(detection, 0), // the generator died and came back: another message of the same task
    olderTask(detection, 0, { groupImageBase64: other.toString("base64") }), // another group of the same index, and so id
    olderTask(detection, 1, { taskId: `${detection.messageId}_group4`, groupIndex: 4, groupImageBase64: "" }),
    olderTask(detection, 1, { taskId: "None_group1", requestId: null, timestamp: null, cameraId: 0 }),
    olderTask(detection, 1, { taskId: "None_group1", requestId: null, timestamp: null, cameraId: 0 }),
    olderTask(detection, 1, { taskId: "far", requestId: "far", groupImageBase64: "", groupImageUrl: "http://x/y.jpg" }),
  ];
  const unreadable = [
    { ...tasks[0], cameraId: null },
    { ...tasks[0], groupIndex: null },
  ].map((task) => say(task));
  await topics.publish(TOPICS.tasks, [...unreadable, ...tasks.map((task) => say(task))]);
  const ids = [1, 2, 3, 4].map((index) => `${detection.messageId}_group${index}`);
  const found = await outcomes([...ids, "far"]);
  const ends = (id: string) => found.get(id)?.map(({ outcome, error }) => error?.code ?? outcome);
  expect(ids.map(ends)).toEqual([["assessed"], ["assessed"], ["assessed"], ["IMAGE_MISSING"]]);
  expect(ends("far")).toEqual(["IMAGE_FOREIGN"]);
  expect(found.get(ids[0] ?? "")).toMatchObject([
    { ...{ requestId: detection.messageId, cameraId: 1, timestamp: detection.timestamp, groupIndex: 1 } },
  ]);
  // The two without a name of their own are named by their places, the other group by what it is.
  const others = () => results.filter(({ taskId }) => !ids.includes(taskId) && taskId !== "far");
  await expect.poll(others, { timeout: 20_000 }).toHaveLength(3);
  expect(others().filter(({ taskId }) => taskId.startsWith(`${ids[0]}~`))).toMatchObject([
    { outcome: "assessed", requestId: detection.messageId, groupIndex: 1 },
  ]);
  expect(others().filter(({ requestId }) => requestId.startsWith("assessment-tasks-"))).toMatchObject([
    { cameraId: 0, outcome: "assessed" },
    { cameraId: 0, outcome: "assessed" },
  ]);
  const letters = await messagesOf(topics, deadLetterTopic(TOPICS.tasks), 2);
  expect(letters.map(({ value }) => value)).toEqual(unreadable.map(({ value }) => value));
  expect(results.filter(({ taskId }) => taskId === unread)).toEqual([]);
});

test("one bridge hands over and another takes: the same task ids as judged directly, each judged once", async () => {
  const { publish, offer, outcomes, results, settings } = await world({ assessmentTasks: "write" });
  const taking = createBridge({ ...settings, assessmentTasks: "read" }, silent);
  onTestFinished(() => taking.stop());
  await taking.start();
  const older = olderDetection({ groupImages: [olderImage(1), olderImage(1), olderImage(2)] });
  const ids = [...(await offer(3)), ...[1, 2].map((index) => `${older.messageId}_group${index}`)];
  await publish([say(older)]);
  await outcomes(ids);
  // The detection comes again, to the one that hands over; then something new, behind which nothing of it can be hidden.
  await publish([say(older)]);
  const [last = ""] = await offer(1, { cameraId: "1" });
  await outcomes([last]);
  expect(results.map(({ taskId }) => taskId).toSorted()).toEqual([...ids, last].toSorted());
  expect(results.map(({ outcome }) => outcome)).toEqual(results.map(() => "assessed"));
});

test("a bridge that ends and begins again in mid-work hands each group over exactly once", async () => {
  const { bridge, offer, publish, topics } = await world({ assessmentTasks: "write", inlineImages: true });
  const older = Array.from({ length: 30 }, (_, n) => olderDetection({ messageId: `m${n}`, cameraId: n }));
  const wanted: string[] = [];
  for (let round = 0; round < 3; round += 1) {
    const some = older.slice(10 * round, 10 * round + 10);
    const offering = publish([...some, ...some].map((detection) => say(detection, String(detection.cameraId))));
    await bridge.stop(); // wherever it stands with what has come by now
    wanted.push(...some.flatMap(({ messageId }) => [1, 2].map((index) => `${messageId}_group${index}`)));
    await offering;
    await bridge.start();
  }
  // The last of every shard: behind them nothing can come.
  for (let n = 0; n < 30; n += 1) wanted.push(...(await offer(1, { cameraId: n })));
  const seen = await messagesOf(topics, TOPICS.tasks, wanted.length);
  expect(
    tasksIn(seen)
      .map(({ taskId }) => taskId)
      .toSorted(),
  ).toEqual(wanted.toSorted());
});
