/**
 * The Redis topics: messages a second, and the time from append to delivery.
 *
 *   node bench/topics-redis.ts            a redis-server of its own, append-only file, fsync always
 *   node bench/topics-redis.ts everysec   the same with fsync every second
 *
 * Messages are 2 KB, as a detection with a few groups is; 50 cameras, 16 shards. One process both publishes and reads,
 * so its own work is in every figure.
 */
import { pino } from "pino";
import { type Context, systemClock } from "../src/context.ts";
import { createRedisTopicLog } from "../src/topics/redis-topic-log.ts";
import type { TopicLog } from "../src/topics/topic-log.ts";
import { startRedis } from "../test/support/redis.ts";

const MESSAGES = 50_000;
const PACED = 1_000;
const PACE_MS = 10;

const context: Context = { clock: systemClock, log: pino({ level: "warn" }) };
const appendfsync = process.argv[2] === "everysec" ? "everysec" : "always";
const redis = await startRedis({ appendfsync });
const log = createRedisTopicLog({ redisUrl: redis.url, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 30 }, context);
await log.start();
try {
  console.log(`appendfsync ${appendfsync}, Node ${process.version}`);
  console.table({ ...(await throughput(log)), ...(await latency(log)) });
} finally {
  await log.stop();
  await redis.stop();
}

async function throughput(topics: TopicLog) {
  const value = Buffer.alloc(2_000, "x");
  const messages = Array.from({ length: MESSAGES }, (_, n) => ({ key: `camera-${n % 50}`, value }));
  const publishing = performance.now();
  for (let n = 0; n < MESSAGES; n += 500) await topics.publish("bulk", messages.slice(n, n + 500));
  const published = performance.now();
  let read = 0;
  for await (const batch of topics.subscribe("bulk", { group: "bench", consumer: "one" }).batches()) {
    await batch.acknowledge();
    read += batch.messages.length;
    if (read === MESSAGES) break;
  }
  const consumed = performance.now();
  const ones = performance.now();
  for (let n = 0; n < PACED; n += 1) await topics.publish("ones", [{ key: `camera-${n % 50}`, value }]);
  return {
    "publish, 500 a call, messages/s": Math.round((MESSAGES * 1_000) / (published - publishing)),
    "publish, one after the other, messages/s": Math.round((PACED * 1_000) / (performance.now() - ones)),
    "read and acknowledge, messages/s": Math.round((MESSAGES * 1_000) / (consumed - published)),
  };
}

/** From the call of publish to the batch in hand, at 100 messages a second. */
async function latency(topics: TopicLog) {
  const sentAtMs: number[] = [];
  const tookMs: number[] = [];
  const publishing = (async () => {
    for (let n = 0; n < PACED; n += 1) {
      await context.clock.sleep(PACE_MS);
      sentAtMs[n] = performance.now();
      await topics.publish("paced", [{ key: `camera-${n % 50}`, value: Buffer.from(String(n).padEnd(2_000)) }]);
    }
  })();
  for await (const batch of topics.subscribe("paced", { group: "bench", consumer: "one" }).batches()) {
    for (const { value } of batch.messages) tookMs.push(performance.now() - (sentAtMs[Number(value)] ?? Number.NaN));
    await batch.acknowledge();
    if (tookMs.length === PACED) break;
  }
  await publishing;
  tookMs.sort((a, b) => a - b);
  const at = (share: number) => Number((tookMs[Math.floor(tookMs.length * share)] ?? 0).toFixed(2));
  return {
    "publish to delivery P50, ms": at(0.5),
    "publish to delivery P95, ms": at(0.95),
    "publish to delivery P99, ms": at(0.99),
  };
}
