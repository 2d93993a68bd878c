/** Results that wait in the outbox of a real store, and writers that move them to a topic on a real Kafka. */
import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { Redis } from "ioredis";
import { pino } from "pino";
import { expect, onTestFinished } from "vitest";
import { systemClock } from "../../src/context.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import type { WriterOrder } from "./outbox-writer.ts";
import { startRedis } from "./redis.ts";

const OUTBOX_KEY = "{vl}:outbox";
const context = { clock: systemClock, log: pino({ level: "silent" }) };

export interface WriteBackScene {
  /** So many more results wait: the next numbers. */
  offer(count: number): Promise<void>;
  /** Starts one, in a process of its own that ends with the test. */
  writer(): ChildProcess;
  /** Every number that stands in the topic, as a reader of committed messages sees them once the outbox is empty; in order. */
  published(): Promise<number[]>;
  /** Every number that was offered, in order. */
  offered(): number[];
}

/** Inside a test: everything ends with it. `withinMs`: for the outbox to be empty when `published` is asked. */
export async function writeBackScene(brokers: string[], withinMs = 60_000): Promise<WriteBackScene> {
  const server = await startRedis();
  const redis = new Redis(server.url, { maxRetriesPerRequest: null });
  onTestFinished(() => redis.disconnect());
  const topic = `results-${randomUUID()}`;
  const log = createKafkaTopicLog({ brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 4 }, context);
  onTestFinished(() => log.stop());
  await log.start();
  await log.ensureTopic(topic);
  let count = 0;
  return {
    async offer(more) {
      const commands = redis.pipeline();
      for (let i = 0; i < more; i += 1) commands.xadd(OUTBOX_KEY, "*", "n", String(count++));
      await commands.exec();
    },
    writer() {
      const order: WriterOrder = { redisUrl: server.url, brokers, outboxKey: OUTBOX_KEY, topic };
      const child = fork(new URL("./outbox-writer.ts", import.meta.url), [JSON.stringify(order)], { execArgv: [] });
      onTestFinished(() => void child.kill("SIGKILL"));
      return child;
    },
    async published() {
      await expect.poll(() => redis.xlen(OUTBOX_KEY), { timeout: withinMs, interval: 50 }).toBe(0);
      const ends = await log.ends(topic);
      const seen: string[] = [];
      const abort = new AbortController();
      const left = new Set(ends.flatMap((end, shard) => (BigInt(end) >= 0n ? [shard] : [])));
      for await (const { shard, position, value } of log.tail(topic, "earliest", abort.signal)) {
        seen.push(value.toString());
        if (position === ends[shard]) left.delete(shard);
        if (left.size === 0) abort.abort();
      }
      return seen.map(Number).sort((a, b) => a - b);
    },
    offered: () => Array.from({ length: count }, (_, n) => n),
  };
}

/** Resolves when the writer has moved something `times` times from now on. */
export async function moves(child: ChildProcess, times: number): Promise<void> {
  for (let n = 0; n < times; ) {
    const [told] = (await once(child, "message")) as [{ moved?: number }];
    if (told.moved !== undefined) n += 1;
  }
}
