/**
 * The contract of the waiting room: where admitted tasks wait, bounded by their deadlines; the one place where order,
 * expiry and supersession are decided. Any number of processes may use it at once. redis-waiting-room.ts does it.
 *
 * Order: five bands of urgency (the local score, raised by the time that the same scene has waited already); within a
 * band the cameras take turns; of a camera the newest capture first.
 */
import { createHash } from "node:crypto";
import type { AssessmentTask } from "../messages.ts";
import type { WaitingView } from "../waiting-view.ts";

/** A task on its way in. */
export interface Arrival {
  task: AssessmentTask;
  /** Id of the message it came in: tasks of one message never supersede each other. */
  messageId: string;
  /** Text that grows with the place in the topic: decides between equal capture times. */
  order: string;
  /** Tells its picture from another one: an older task generator gives two groups of one index one id. Absent: by the rest alone. */
  imageDigest?: string;
  /** Known beforehand that it cannot be judged: it ends as failed at once. */
  failed?: { code: string; message: string };
  /**
   * Others judge it: unless it is known, failed or too old, it goes to the outbox of tasks instead of the room, as this message
   * (JSON); `inline`: with its picture in it. It has no outcome here.
   */
  handOver?: { message: string; inline: boolean };
  /** It came by the topic of tasks: what a bridge on this store has handed over is for us after all. */
  leftToUs?: boolean;
}

/** What became of an arrival. `conflict`: the id is known with another content; the caller gives it a new id. */
export type Admission = "admitted" | "handed" | "known" | "conflict" | "reused" | "failed" | "expired" | "superseded";

export interface AdmissionReport {
  /** In the order of the arrivals. */
  admissions: Admission[];
  /** Entries on their way out: outcomes, and tasks handed over. */
  outboxLength: number;
}

export interface SweepReport {
  expired: number;
  lapsed: number;
  overdue: number;
  orphaned: number;
  /** Nothing is left that could become due. */
  idle: boolean;
}

export interface WaitingRoom extends WaitingView {
  /** Idempotent by task id and content: what is known already is left alone. Of no arrivals it tells the length alone. */
  admit(arrivals: readonly Arrival[]): Promise<AdmissionReport>;
  /**
   * Ends what is past its deadline and brings back what was taken but never begun or never ended. `dead`: workers (as
   * named in `spend`) that are gone for certain; their calls come back at once.
   */
  sweep(dead?: readonly string[]): Promise<SweepReport>;
}

/**
 * The same content has the same hash, whatever moment it arrives at and whichever topic it comes by: re-delivery is
 * recognised by it. Left out is what admission itself adds (where the image was put, times taken from the append, settings),
 * and what not every producer of tasks knows.
 */
export function contentHash({ task, imageDigest }: Pick<Arrival, "task" | "imageDigest">): string {
  const { cameraId, timestamp, groupIndex, objects, bbox } = task;
  return createHash("sha1")
    .update(JSON.stringify([cameraId, timestamp, groupIndex, objects, bbox, imageDigest ?? ""]))
    .digest("base64url")
    .slice(0, 16);
}
