/**
 * One BullMQ queue per key group. Tasks do not wait here: a job comes with its lease and runs at once. What BullMQ adds is
 * the job's lock and its recovery, retries by hand, and tools that people know.
 */
import { type JobsOptions, Queue, type WorkerOptions } from "bullmq";
import type { Redis } from "ioredis";
import { z } from "zod";
import { AssessmentTask } from "../messages.ts";
import { assessmentQueueName, BULLMQ_PREFIX, jobId } from "../names.ts";
import type { KeyGroup } from "./key-groups.ts";
import type { Taken } from "./quota.ts";

/** Data of a job. Without `lease` (put there by hand, or of another producer) the task goes to the waiting room first. */
export const AssessmentJob = z.object({
  task: AssessmentTask,
  lease: z.object({ epoch: z.number().int(), keyGroup: z.string(), keyId: z.string() }).optional(),
  /** Path of the crop on the gateway, for people. */
  crop: z.string().nullable().optional(),
});
export type AssessmentJob = z.infer<typeof AssessmentJob>;

/** Return value of a job, for people and tools. */
export type JobReturn = { outcome: string; [detail: string]: unknown };

const DAY_SECONDS = 86_400;
/** How long a failed job stays, and with it the record and the crop that a retry by hand needs. */
export const FAILED_JOB_AGE_MS = 7 * DAY_SECONDS * 1000;

const JOB_OPTIONS: JobsOptions = {
  attempts: 1,
  removeOnComplete: { age: DAY_SECONDS, count: 1_000 },
  removeOnFail: { age: 7 * DAY_SECONDS, count: 5_000 },
};

/**
 * Settings of a key group's worker. Locks of 5 s looked at each 2 s bring a killed worker's jobs back in about 5 s (the
 * supervisor's announcement is quicker; this is the fallback). The limiter is a second fence that never binds: twice the
 * narrowest window, since jobs without a lease pass too; it is what BullMQ's own tools show, and what makes
 * `queue.rateLimit` of a cooling group heard.
 */
export function workerOptions(group: KeyGroup, connection: Redis): WorkerOptions {
  const narrowest = group.windows.toSorted((a, b) => a.windowMs - b.windowMs)[0] ?? { limit: 1_000, windowMs: 1_000 };
  return {
    connection,
    prefix: BULLMQ_PREFIX,
    concurrency: workerConcurrency(group),
    lockDuration: 5_000,
    stalledInterval: 2_000,
    maxStalledCount: 50,
    maximumRateLimitDelay: 500,
    limiter: { max: narrowest.limit * 2, duration: narrowest.windowMs },
    drainDelay: 5,
  };
}

/** More than the windows can have in flight when every call takes 30 s, so that this never is the limit. */
function workerConcurrency(group: KeyGroup): number {
  const perSecond = Math.min(...group.windows.map((w) => Math.max(1, (w.limit * 1000) / w.windowMs)));
  return Math.max(50, Math.min(1_000, Math.ceil(perSecond * 30)));
}

export interface AssessmentQueues {
  /** Adds a job for each; idempotent by task id and epoch. */
  add(taken: readonly Taken[]): Promise<void>;
  /** BullMQ's workers rest so long, so that its tools show the group's cool-down. A shorter one never shortens. */
  cool(keyGroup: string, ms: number): Promise<void>;
  close(): Promise<void>;
}

export function createAssessmentQueues(connection: Redis): AssessmentQueues {
  const queues = new Map<string, Queue>();
  const queueOf = (keyGroup: string) => {
    const known = queues.get(keyGroup);
    if (known) return known;
    const queue = new Queue(assessmentQueueName(keyGroup), {
      connection,
      prefix: BULLMQ_PREFIX,
      defaultJobOptions: JOB_OPTIONS,
    });
    queue.on("error", () => {}); // the connection itself reports that the store is away
    queues.set(keyGroup, queue);
    return queue;
  };
  return {
    async add(taken) {
      const byGroup = Map.groupBy(taken, (one) => one.keyGroup);
      await Promise.all([...byGroup].map(([keyGroup, ones]) => queueOf(keyGroup).addBulk(ones.map(toJob))));
    },
    async cool(keyGroup, ms) {
      const queue = queueOf(keyGroup);
      const left = await queue.getRateLimitTtl();
      if (left < ms) await queue.rateLimit(ms);
    },
    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
    },
  };
}

function toJob(taken: Taken) {
  const task = AssessmentTask.parse(JSON.parse(taken.task));
  const data: AssessmentJob = {
    task,
    lease: { epoch: taken.epoch, keyGroup: taken.keyGroup, keyId: taken.keyId },
    crop: cropPath(task.imageUrl),
  };
  return {
    name: `${taken.cameraId} · group ${task.groupIndex}`,
    data,
    opts: { ...JOB_OPTIONS, jobId: jobId(taken.taskId, taken.epoch) },
  };
}

/** Where the gateway shows an image of our own store. */
export function cropPath(reference: string | null): string | null {
  return reference?.startsWith("vigilane:images/") ? `/${reference.slice("vigilane:".length)}` : null;
}
