/**
 * The end of crops: each is kept until the moment that its task's end has set (a failed one's as long as its failed job),
 * all of them together within a budget of bytes, the oldest going first; and what no task ever named, by age.
 */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import type { ImageStore } from "../images/image-store.ts";
import { loop } from "../lifecycle.ts";

/** Zset: reference -> keep until, ms on the store's clock. Written at each task's end. */
export const IMAGES_UNTIL = "{vl}:images";

const EVERY_MS = 5_000;
const BUDGET_EVERY_MS = 60_000;
const AT_ONCE = 500;

export interface ImageLimits {
  maxBytes: number;
  /** For crops that no task's end ever named. Longer than any task keeps its own. */
  maxAgeMs: number;
}

export async function endImages(
  redis: Redis,
  images: ImageStore,
  limits: ImageLimits,
  context: Context,
  signal: AbortSignal,
): Promise<void> {
  let budgetAtMs = Number.NEGATIVE_INFINITY;
  await loop(context, signal, "deleting crops", async () => {
    const removed = await removeDue(redis, images);
    if (removed > 0) context.log.debug({ removed }, "crops past their time deleted");
    if (context.clock.monotonicMs() - budgetAtMs >= BUDGET_EVERY_MS) {
      budgetAtMs = context.clock.monotonicMs();
      const swept = await images.sweep(limits);
      if (swept.removed > 0) context.log.info(swept, "crops deleted for their age or the byte budget");
    }
    await context.clock.sleep(EVERY_MS, signal).catch(() => {});
  });
}

/**
 * Returns how many. What was claimed here and could not be deleted is due again; where the process died meanwhile, it goes
 * by age.
 */
export async function removeDue(redis: Redis, images: ImageStore): Promise<number> {
  const [seconds] = await redis.time();
  let removed = 0;
  for (;;) {
    const due = await redis.zrangebyscore(IMAGES_UNTIL, "-inf", Number(seconds) * 1000, "LIMIT", 0, AT_ONCE);
    if (due.length === 0) return removed;
    const claims = await Promise.all(due.map((reference) => redis.zrem(IMAGES_UNTIL, reference)));
    const ours = due.filter((_, i) => claims[i] === 1); // a retry by hand takes its crop off the list
    try {
      await images.remove(ours);
    } catch (error) {
      await redis.zadd(IMAGES_UNTIL, "NX", ...ours.flatMap((reference) => [Number(seconds) * 1000, reference]));
      throw error;
    }
    removed += ours.length;
  }
}
