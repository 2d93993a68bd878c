/** What the gateway may see and do of the waiting room: the contract between queues (which does it) and gateway (which shows it). */
import type { AssessmentTask, Timings } from "./messages.ts";

/** A task as it stands in the store. */
export interface TaskView {
  taskId: string;
  state: "waiting" | "taken" | "queued" | "calling" | "done";
  epoch: number;
  attempts: number;
  revision: number;
  outcome: string | null;
  keyGroup: string | null;
  /** Milliseconds until its deadline; null: never. Negative: past. */
  remainingMs: number | null;
  task: AssessmentTask | null;
  timings: Timings;
}

export interface WaitingView {
  /** How many wait, and how many are taken, queued or in a call. */
  counts(): Promise<{ waiting: number; moving: number; calling: number }>;
  /** The next ones to be taken, best first; at most `limit`. */
  next(limit: number): Promise<TaskView[]>;
  /** One task by id; null: unknown or forgotten. */
  task(taskId: string): Promise<TaskView | null>;
  /**
   * Retry by hand: only from `failed`. A new revision goes through the waiting room with a fresh deadline of 60 s and is
   * never superseded. Rejects with NOT_FAILED, NO_SUCH_TASK or IMAGE_GONE; the failed job is then the caller's to remove.
   */
  reopen(taskId: string): Promise<{ revision: number; epoch: number }>;
}
