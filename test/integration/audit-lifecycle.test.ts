/** The audit starts and stops in every order, and leaves nothing, also when its start fails. */
import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { KEYS } from "../../src/names.ts";
import { createAudit } from "../../src/supervisor/audit.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { silent } from "../support/pipeline.ts";
import { startRedis } from "../support/redis.ts";
import { connectionsTo, failToStart, stressAndLeaveNothing } from "../support/service-stress.ts";

const auditOf = (redisUrl: string) =>
  createAudit(
    {
      redisUrl,
      topics: createRedisTopicLog({ redisUrl, retentionMs: 60_000, maxBytesPerTopic: 1e6, shards: 2 }, silent),
      freshnessSeconds: () => 5,
    },
    silent,
  );

test("the audit starts and stops in every order", async () => {
  const { url } = await startRedis();
  await stressAndLeaveNothing(
    () => auditOf(url),
    () => connectionsTo(url),
  );
});

test("an audit whose start fails late leaves nothing", async () => {
  const { url } = await startRedis();
  const redis = new Redis(url);
  await redis.set(KEYS.shown, "of the wrong kind"); // read after the topics were started
  redis.disconnect();
  await failToStart(
    () => auditOf(url),
    { message: expect.stringContaining("WRONGTYPE") },
    () => connectionsTo(url),
  );
});
