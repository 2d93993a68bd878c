/** Reads the results topic: each result is taken in, then acknowledged. At least once; `record` is idempotent. */
import type { Context } from "../context.ts";
import { readResult } from "../read-result.ts";
import type { Batch, Subscription } from "../topics/topic-log.ts";
import type { OlderFrames } from "./older-frames.ts";
import type { ResultRecorder } from "./record-result.ts";

const AGAIN_AFTER_MS = 1_000;

export interface Kept {
  results: number;
  duplicates: number;
  deadLetters: number;
}

/** Runs until the subscription is closed; `kept` is counted up. */
export async function keepResults(
  subscription: Subscription,
  recorder: ResultRecorder,
  kept: Kept,
  { log }: Context,
  older?: OlderFrames,
): Promise<void> {
  const working = new Set<Promise<void>>();
  for await (const batch of subscription.batches()) {
    const work = keepBatch(batch, recorder, kept, older).catch(async (error: unknown) => {
      log.warn({ err: error, shard: batch.shard }, "results could not be kept; they come again");
      await batch.giveBack(AGAIN_AFTER_MS).catch(() => {}); // its new owner has them
    });
    working.add(work);
    void work.finally(() => working.delete(work));
  }
  await Promise.all(working);
}

/** In order: a camera's results lie in one shard. */
async function keepBatch(batch: Batch, recorder: ResultRecorder, kept: Kept, older?: OlderFrames): Promise<void> {
  for (const message of batch.messages) {
    const result = readResult(message);
    if (typeof result === "string") {
      await batch.deadLetter(message, { code: "ENVELOPE_UNREADABLE", message: result });
      kept.deadLetters += 1;
      continue;
    }
    if ((await recorder.record(result)) === "duplicate") kept.duplicates += 1;
    else kept.results += 1;
    await older?.take(result);
  }
  await batch.acknowledge();
}
