/** Write-back to Kafka is exactly once for readers of committed messages, whoever is killed or stopped when. */
import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import type { WriterOrder } from "../support/outbox-writer.ts";
import { startRedis } from "../support/redis.ts";

const KILLS = process.env.VIGILANE_LONG ? 50 : 4;
const STOPS = process.env.VIGILANE_LONG ? 10 : 2;
const context = { clock: systemClock, log: pino({ level: "silent" }) };

describe.skipIf(!brokerThere)("write-back to a real Kafka broker", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await someKafka();
  }, 120_000);
  afterAll(() => kafka.stop());

  async function scene() {
    const server = await startRedis();
    const redis = new Redis(server.url, { maxRetriesPerRequest: null });
    onTestFinished(() => redis.disconnect());
    const topic = `results-${randomUUID()}`;
    const log = createKafkaTopicLog(
      { brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 4 },
      context,
    );
    onTestFinished(() => log.stop());
    await log.start();
    await log.ensureTopic(topic);
    const outboxKey = "{vl}:outbox";
    let offered = 0;
    const offer = async (count: number) => {
      const commands = redis.pipeline();
      for (let i = 0; i < count; i += 1) commands.xadd(outboxKey, "*", "n", String(offered++));
      await commands.exec();
    };
    const writer = () => {
      const order: WriterOrder = { redisUrl: server.url, brokers: kafka.brokers, outboxKey, topic };
      const child = fork(new URL("../support/outbox-writer.ts", import.meta.url), [JSON.stringify(order)], {
        execArgv: [],
      });
      onTestFinished(() => void child.kill("SIGKILL"));
      return child;
    };
    /** Every number that was offered, as a reader of committed messages sees them; ends with a mark of its own. */
    const published = async () => {
      await expect.poll(() => redis.xlen(outboxKey), { timeout: 60_000, interval: 50 }).toBe(0);
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
    };
    return { offer, writer, published, offered: () => Array.from({ length: offered }, (_, n) => n) };
  }

  /** Resolves when the writer has moved something `times` times from now on. */
  async function moves(child: ChildProcess, times: number): Promise<void> {
    for (let n = 0; n < times; ) {
      const [told] = (await once(child, "message")) as [{ moved?: number }];
      if (told.moved !== undefined) n += 1;
    }
  }

  test(`${KILLS} writers killed in mid-work lose nothing and double nothing`, {
    timeout: 60_000 + KILLS * 20_000,
  }, async () => {
    const { offer, writer, published, offered } = await scene();
    await offer(300);
    for (let kill = 0; kill < KILLS; kill += 1) {
      const child = writer();
      await moves(child, 1);
      await offer(200);
      // At another place of its work each time.
      await systemClock.sleep((kill * 7) % 30);
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    writer();
    expect(await published()).toEqual(offered());
  });

  test("a writer that was stopped and wakes up doubles nothing", { timeout: 60_000 + STOPS * 20_000 }, async () => {
    const { offer, writer, published, offered } = await scene();
    await offer(300);
    for (let stop = 0; stop < STOPS; stop += 1) {
      const zombie = writer();
      await moves(zombie, 1);
      await offer(200);
      zombie.kill("SIGSTOP");
      const successor = writer();
      await moves(successor, 1);
      zombie.kill("SIGCONT");
      await offer(100);
      await Promise.race([moves(zombie, 1), moves(successor, 1)]);
      for (const child of [zombie, successor]) child.kill("SIGKILL");
      await Promise.all([zombie, successor].map((child) => (child.signalCode ? undefined : once(child, "exit"))));
    }
    writer();
    expect(await published()).toEqual(offered());
  });
});
