/** Whether and how a task is tried again after a call that was refused, failed or took too long. Pure. */
import type { RetryPolicy } from "../queues/call-policy.ts";

/**
 *   again      through the waiting room: another group at once; the one that failed not before `avoidMs`
 *   exhausted  as often as the policy allows: the task fails
 *   expired    its deadline is over
 */
export type NextTry = { kind: "again"; avoidMs: number } | { kind: "exhausted" } | { kind: "expired" };

export interface FailedTry {
  /** Calls of this task that failed, this one included; 0: this one never reached the provider and is not counted. */
  failures: number;
  /** Until the task's deadline, ms; null: far enough. */
  leftMs: number | null;
  /** Another key of the same group may do at once: the group is not left alone. */
  sameGroupMayDo: boolean;
}

const JITTER = 0.2;

/** `random`: 0 to below 1. The group rests for baseMs × 2^failures, a fifth more or less by chance, and never past the deadline. */
export function nextTry(
  { failures, leftMs, sameGroupMayDo }: FailedTry,
  { maxRetries, baseMs, capMs }: RetryPolicy,
  random: number,
): NextTry {
  if (failures > maxRetries) return { kind: "exhausted" };
  if (leftMs !== null && leftMs <= 0) return { kind: "expired" };
  if (sameGroupMayDo) return { kind: "again", avoidMs: 0 };
  const backOffMs = Math.min(capMs, baseMs * 2 ** failures * (1 - JITTER + 2 * JITTER * random));
  return { kind: "again", avoidMs: Math.floor(Math.min(backOffMs, leftMs ?? Number.POSITIVE_INFINITY)) };
}
