/**
 * Detection messages a second that a bridge admits from a topic ÷ those whose tasks the bare admission call admits.
 *
 *     node bench/bridge/admission.ts [--rounds 3] [--messages 10000] [--only kafka-1,kafka-4,kafka-16,kafka-16-inline,redis-16]
 *
 * Topics on a local Kafka (one node, needs Java) with 1, 4 and 16 partitions, images by reference; for comparison 16 shards
 * in Redis, and messages with a picture of 100 kB each in them. Two groups a message, 50 cameras. The bare side has the same
 * tasks in the same chunks, as many calls at a time as there are partitions. Store: a redis-server with fsync always. Bridge
 * and benchmark are one process. Aim: ≥ 0.7.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { pino } from "pino";
import { admitDetections } from "../../src/bridge/admit.ts";
import { groupsToTasks } from "../../src/bridge/groups-to-tasks.ts";
import { readDetection } from "../../src/bridge/read-detection.ts";
import { type Context, systemClock } from "../../src/context.ts";
import { createFolderImageStore } from "../../src/images/folder-image-store.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { Arrival } from "../../src/queues/waiting-room.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import type { OutgoingMessage, TopicLog } from "../../src/topics/topic-log.ts";
import { startKafka } from "../../test/support/kafka.ts";
import { startRedis } from "../../test/support/redis.ts";
import { type Figure, report } from "../quota/report.ts";
import { interleave, readOptions } from "../quota/rounds.ts";
import { detectionMessages, OURS, POLICY } from "./detections.ts";

const CASES = [
  { name: "kafka-1", on: "kafka", partitions: 1, inlineBytes: 0, aim: 0.7 },
  { name: "kafka-4", on: "kafka", partitions: 4, inlineBytes: 0, aim: 0.7 },
  { name: "kafka-16", on: "kafka", partitions: 16, inlineBytes: 0, aim: 0.7 },
  { name: "kafka-16-inline", on: "kafka", partitions: 16, inlineBytes: 100_000, aim: undefined },
  { name: "redis-16", on: "redis", partitions: 16, inlineBytes: 0, aim: undefined },
] as const;
/** As the topics hand them out, and as many of them at a time as the bridge has. */
const BATCH = 200;
const MOST_AT_WORK = 16;
const MOST_WAITING = 10_000_000;

const options = readOptions({ messages: 10_000 }, 0);
const context: Context = { clock: systemClock, log: pino({ level: "warn" }) };
const server = await startRedis({ appendfsync: "always" });
const redis = new Redis(server.url);
const kafka = await startKafka();
const folder = mkdtempSync(join(tmpdir(), "vigilane-bench-"));
const images = createFolderImageStore({ folder }, context);
await images.start();
let topics = 0;
try {
  const results = await interleave(Object.fromEntries(CASES.map((each) => [each.name, () => run(each)])), {
    ...options,
    rounds: options.rounds === 5 ? 3 : options.rounds,
  });
  const figures = CASES.flatMap(({ name, aim }): Figure[] => {
    const runs = results.get(name);
    if (!runs) return [];
    return [
      {
        ...{ row: name, what: "admitted / bare admission", values: runs.map((r) => r.ratio) },
        ...(aim !== undefined && { aim: { atLeast: aim } }),
      },
      { row: name, what: "messages a second", values: runs.map((r) => r.perSecond) },
    ];
  });
  report("bridge-admission", figures, options);
} finally {
  await images.stop();
  redis.disconnect();
  await Promise.all([kafka.stop(), server.stop()]);
  rmSync(folder, { recursive: true, force: true });
}

async function run({ on, partitions, inlineBytes }: (typeof CASES)[number]) {
  const count = inlineBytes > 0 ? Math.ceil(options.messages / 10) : options.messages;
  const messages = detectionMessages(count, { inlineBytes });
  const bare = await bareAdmission(messages, Math.min(partitions, MOST_AT_WORK));
  const kept = { retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 32 };
  const log: TopicLog =
    on === "kafka"
      ? createKafkaTopicLog({ ...kept, brokers: kafka.brokers, shards: partitions }, context)
      : createRedisTopicLog({ ...kept, redisUrl: server.url }, context);
  await log.start();
  try {
    const perSecond = await fromTopic(log, messages);
    return { perSecond, bare, ratio: perSecond / bare };
  } finally {
    await log.stop();
  }
}

/** Messages a second whose tasks are admitted, without any topic. */
async function bareAdmission(messages: readonly OutgoingMessage[], atATime: number): Promise<number> {
  await redis.flushall();
  const room = createWaitingRoom(redis, { maxWaiting: MOST_WAITING });
  const chunks: Arrival[][] = [];
  for (let i = 0; i < messages.length; i += BATCH) chunks.push(messages.slice(i, i + BATCH).flatMap(toArrivals));
  const begun = performance.now();
  const work = Array.from({ length: atATime }, async () => {
    for (let chunk = chunks.shift(); chunk; chunk = chunks.shift()) await room.admit(chunk);
  });
  await Promise.all(work);
  return (messages.length / (performance.now() - begun)) * 1_000;
}

function toArrivals({ value }: OutgoingMessage, nth: number): Arrival[] {
  const reading = readDetection(value);
  if (reading.kind === "unreadable") throw new Error(reading.why);
  const place = { topic: "t", shard: 0, position: String(nth), appendedAtMs: Date.now(), headers: {} };
  const messageId = reading.detection.messageId ?? "";
  return groupsToTasks(reading.detection, place, POLICY).tasks.map(({ task }) => ({
    ...{ task, messageId, order: String(nth) },
  }));
}

/**
 * Messages a second from the topic, all of them there before the bridge begins, until the last one is acknowledged. Joining the
 * group is no part of it: it counts from the first messages on.
 */
async function fromTopic(log: TopicLog, messages: readonly OutgoingMessage[]): Promise<number> {
  await redis.flushall();
  topics += 1;
  const topic = `bench-${process.pid}-${topics}`;
  await log.ensureTopic(topic);
  const chunk = messages[0] && messages[0].value.length > 50_000 ? 20 : 500;
  for (let i = 0; i < messages.length; i += chunk) await log.publish(topic, messages.slice(i, i + chunk));
  const room = createWaitingRoom(redis, { maxWaiting: MOST_WAITING });
  const stop = new AbortController();
  const counts = { messages: 0, groups: 0, deadLetters: 0, again: 0, captureUntrusted: 0, resting: 0, handed: 0 };
  const detections = log.subscribe(topic, { group: "bridge", consumer: "bench" });
  const admitting = admitDetections(
    { detections, ...OURS, room, images, policyOf: () => POLICY, maxOutbox: Number.POSITIVE_INFINITY },
    context,
    stop.signal,
    counts,
  );
  while (counts.messages === 0) await systemClock.sleep(1);
  const before = counts.messages;
  const begun = performance.now();
  while (counts.messages < messages.length) await systemClock.sleep(2);
  stop.abort();
  await admitting; // with the acknowledgement of the last
  const perSecond = ((messages.length - before) / (performance.now() - begun)) * 1_000;
  if (counts.deadLetters + counts.again + counts.captureUntrusted > 0) throw new Error(JSON.stringify(counts));
  return perSecond;
}
