/** How long admission knows a task after its outcome: what the running bridges have told the store (StoreSettings.recordMs). */
import type { Redis } from "ioredis";
import { PREFIX } from "./lua-scripts.ts";

/** Records outlive what the topics keep by so much, so that no message is there that is not known any more. */
export const RECORD_SPARE_MS = 2 * 60_000;

/** Ms. Null: no bridge has ever been on this store. */
export async function outcomesKnownMs(redis: Pick<Redis, "hget">): Promise<number | null> {
  const recordMs = await redis.hget(`${PREFIX}settings`, "recordMs");
  return recordMs === null ? null : Number(recordMs) - RECORD_SPARE_MS;
}
