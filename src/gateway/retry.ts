/** Retry of a failed task by hand: reopened in the waiting room, and its failed job, done with, is removed. */
import type { Queue } from "bullmq";
import type { Context } from "../context.ts";
import { assessmentQueueName, jobId } from "../names.ts";
import type { WaitingView } from "../waiting-view.ts";

export interface Retried {
  taskId: string;
  revision: number;
}

/** Rejects with NOT_FAILED, NO_SUCH_TASK or IMAGE_GONE; then nothing has changed. `queues` by their names. */
export async function retryTask(
  taskId: string,
  waiting: WaitingView,
  queues: ReadonlyMap<string, Queue>,
  { log }: Context,
): Promise<Retried> {
  const before = await waiting.task(taskId);
  const { revision } = await waiting.reopen(taskId);
  if (before?.keyGroup) {
    const job = await queues.get(assessmentQueueName(before.keyGroup))?.getJob(jobId(taskId, before.epoch));
    // A job that stays is only a line too many on the board: its retry answers NOT_FAILED.
    await job
      ?.remove()
      .catch((error: unknown) => log.warn({ err: error, taskId }, "the failed job could not be removed"));
  }
  log.info({ taskId, revision }, "a failed task is tried again by hand");
  return { taskId, revision };
}
