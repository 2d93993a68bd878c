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
  /** Known beforehand that it cannot be judged: it ends as failed at once. */
  failed?: { code: string; message: string };
}

/** What became of an arrival. `conflict`: the id is known with another content; the caller gives it a new id. */
export type Admission = "admitted" | "known" | "conflict" | "reused" | "failed" | "expired" | "superseded";

export interface AdmissionReport {
  /** In the order of the arrivals. */
  admissions: Admission[];
  outboxLength: number;
}

export interface SweepReport {
  expired: number;
  lapsed: number;
  overdue: number;
  orphaned: number;
}

export interface WaitingRoom extends WaitingView {
  /** Idempotent by task id and content: what is known already is left alone. */
  admit(arrivals: readonly Arrival[]): Promise<AdmissionReport>;
  /**
   * Ends what is past its deadline and brings back what was taken but never begun or never ended. `dead`: workers (as
   * named in `spend`) that are gone for certain; their calls come back at once.
   */
  sweep(dead?: readonly string[]): Promise<SweepReport>;
}

/**
 * The same content has the same hash, whatever moment it arrives at: re-delivery is recognised by it. Left out is what
 * admission itself adds (where the image was put, times taken from the append, settings).
 */
export function contentHash({ cameraId, timestamp, groupIndex, objects, memberIndices, bbox }: AssessmentTask): string {
  return createHash("sha1")
    .update(JSON.stringify([cameraId, timestamp, groupIndex, objects, memberIndices, bbox]))
    .digest("base64url")
    .slice(0, 16);
}
