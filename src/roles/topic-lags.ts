/** How far our consumer groups are behind, written to the store for gateways: the topics' own lag, whatever keeps them. */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import type { TopicLag } from "../events.ts";
import { abortOf, loop } from "../lifecycle.ts";
import { KEYS } from "../names.ts";
import type { TopicLog } from "../topics/topic-log.ts";

/** Of several bridges whoever comes first tells it. */
const TELL_EVERY_MS = 5_000;

export interface LagsParts {
  topics: Pick<TopicLog, "lag">;
  redis: Redis;
  /** By names of design: each topic, and the group that reads it. */
  readers: readonly { topic: string; group: string }[];
}

/** Until `signal` aborts; waits while topics or store are away. */
export async function tellLags({ topics, redis, readers }: LagsParts, context: Context, signal: AbortSignal) {
  const { clock } = context;
  const over = abortOf(signal);
  await loop(context, signal, "telling the lag", async () => {
    for (const { topic, group } of readers) {
      const field = `${group}.${topic}`;
      if (await toldLately(redis, field, clock.nowMs())) continue;
      const lag = await Promise.race([topics.lag(topic, group), over]);
      if (!lag) return;
      const told: TopicLag = { topic, group, ...lag, atMs: clock.nowMs() };
      await redis.hset(KEYS.lags, field, JSON.stringify(told));
    }
    await clock.sleep(TELL_EVERY_MS, signal);
  });
}

async function toldLately(redis: Redis, field: string, nowMs: number): Promise<boolean> {
  const { atMs = 0 } = JSON.parse((await redis.hget(KEYS.lags, field)) ?? "{}") as Partial<TopicLag>;
  return Math.abs(nowMs - atMs) < TELL_EVERY_MS / 2;
}
