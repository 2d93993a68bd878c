/**
 * A bridge's memory over a million detection messages.
 *
 *     node bench/bridge/memory.ts [messages, default 1000000]
 *
 * Frames of fifty cameras, one of a hundred with a group, are published to a local Kafka (needs Java) by a process of their
 * own and admitted here, as fast as that goes; what is admitted is thrown away in the store now and then. Prints the
 * resident memory at each tenth, as one line of JSON. Aim: from the second tenth on it grows by less than a tenth.
 */
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { pino } from "pino";
import { admitDetections } from "../../src/bridge/admit.ts";
import { type Context, systemClock } from "../../src/context.ts";
import { createFolderImageStore } from "../../src/images/folder-image-store.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { startKafka } from "../../test/support/kafka.ts";
import { startRedis } from "../../test/support/redis.ts";
import { OURS, POLICY } from "./detections.ts";

const total = Number(process.argv[2] ?? 1_000_000);
const context: Context = { clock: systemClock, log: pino({ level: "warn" }) };
const server = await startRedis({ appendfsync: "everysec" });
const redis = new Redis(server.url);
const kafka = await startKafka();
const folder = mkdtempSync(join(tmpdir(), "vigilane-bench-"));
const images = createFolderImageStore({ folder }, context);
const topic = "detection-results";
const log = createKafkaTopicLog(
  { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 30, shards: 16 },
  context,
);
await Promise.all([images.start(), log.start()]);
await log.ensureTopic(topic);
const publisher = fork(new URL("./publisher.ts", import.meta.url), [kafka.brokers.join(","), topic, String(total)]);
const stop = new AbortController();
const counts = { messages: 0, groups: 0, deadLetters: 0, again: 0, captureUntrusted: 0, resting: 0, handed: 0 };
const begun = performance.now();
const admitting = admitDetections(
  {
    detections: log.subscribe(topic, { group: "bridge", consumer: "bench" }),
    ...OURS,
    room: createWaitingRoom(redis, { maxWaiting: 10_000 }),
    images,
    policyOf: () => POLICY,
    maxOutbox: Number.POSITIVE_INFINITY,
  },
  context,
  stop.signal,
  counts,
);
const rssMb: number[] = [];
for (let tenth = 1; tenth <= 10; tenth += 1) {
  while (counts.messages < (total * tenth) / 10) await systemClock.sleep(20);
  rssMb.push(Math.round(process.memoryUsage.rss() / 1024 ** 2));
  console.error(`${counts.messages} messages, ${rssMb.at(-1)} MiB`);
  await redis.flushall();
}
const perSecond = Math.round((total / (performance.now() - begun)) * 1_000);
stop.abort();
await admitting;
publisher.kill();
const [, second = 0] = rssMb;
const holds = Math.max(...rssMb.slice(1)) < second * 1.1;
console.log(JSON.stringify({ bench: "bridge-memory", messages: total, perSecond, rssMb, counts, holds }));
redis.disconnect();
await Promise.all([images.stop(), log.stop()]);
await Promise.all([kafka.stop(), server.stop()]);
rmSync(folder, { recursive: true, force: true });
process.exitCode = holds ? 0 : 1;
