/**
 * The contract of the key groups' queues. Tasks do not wait here: a job comes with its lease and runs at once. What a
 * queue adds is the job's lock and its recovery, retries by hand, and tools that people know. bullmq-assessment-queue.ts
 * does it, one BullMQ queue per key group.
 */
import { z } from "zod";
import { AssessmentTask } from "../messages.ts";
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

/** How long a failed job stays, and with it the record and the crop that a retry by hand needs. */
export const FAILED_JOB_AGE_MS = 7 * 86_400_000;

export interface AssessmentQueues {
  /** Adds a job for each; idempotent by task id and epoch. */
  add(taken: readonly Taken[]): Promise<void>;
  /** BullMQ's workers rest so long, so that its tools show the group's cool-down. A shorter one never shortens. */
  cool(keyGroup: string, ms: number): Promise<void>;
  close(): Promise<void>;
}

/** Where the gateway shows an image of our own store. */
export function cropPath(reference: string | null): string | null {
  return reference?.startsWith("vigilane:images/") ? `/${reference.slice("vigilane:".length)}` : null;
}
