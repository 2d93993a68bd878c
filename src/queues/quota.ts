/**
 * The contract of leases: permission to make one call now with one key, reserved in every quota window of its key group.
 * A lease is taken together with the best waiting task, in one step; it lapses unless it is spent at the start of the
 * call. Windows (window.ts) count on the store's clock, widened by a guard against jitter, and hold across all processes.
 * redis-quota.ts does it.
 */
import type { ErrorCode } from "../errors.ts";
import type { KeyGroupEvent } from "../events.ts";
import type { RoutingPolicy } from "../routing-policy.ts";
import type { KeyGroup, Routing } from "./key-groups.ts";

/** A task with its lease, on its way into the key group's queue. */
export interface Taken {
  taskId: string;
  /** Counts the takings of a task; a job of an older epoch is a no-op. */
  epoch: number;
  keyGroup: string;
  keyId: string;
  /** Calls begun before this one. */
  attempts: number;
  /** Until the deadline; null: never ends. */
  remainingMs: number | null;
  cameraId: string;
  /** AssessmentTask as JSON text. */
  task: string;
}

export interface TakeAnswer {
  taken: Taken[];
  /** Ask again after so long; null: nothing waits, wait for the signal `wake`. */
  waitMs: number | null;
}

/** granted: call now, within timeoutMs. back: the task went back by itself, do nothing. stale: not this job's task any more, do nothing. */
export type SpendAnswer =
  | {
      kind: "granted";
      /** The call's own limit or what is left until the deadline, whichever is shorter. */
      timeoutMs: number;
      /** The deadline, not the call's own limit, bounds it: a time-out blames nobody. */
      boundByDeadline: boolean;
      /** A probe whose limit is shorter than what its group is known to need: a time-out blames nobody, and its task goes back. */
      cutShort: boolean;
      attempts: number;
      /** Refusals, errors and time-outs before this call; unreadable answers are not among them. */
      refusals: number;
      /** The stamp of this call, on the store's clock. */
      startedAt: string;
      keyId: string;
      /** The answer before this call could not be read. */
      unreadable: UnreadableAnswer | null;
      /** Which of the two is probed with this call; empty: it is an ordinary one. */
      probes: Probed[];
    }
  | { kind: "back"; why: string; became: string }
  | { kind: "stale"; why: string }
  /** This very taking ended as failed, but its job was not told: it fails now. */
  | { kind: "failed" };

export type Probed = "group" | "key";

/** How long a group rests: rest.ts. By a share of failures of its recent calls, as the store knows it. All in whole ms. */
export type Rest =
  /** `varies`: longer by up to a fifth, by chance. */
  | { kind: "fixed"; ms: number; varies: boolean }
  /** Up to the share `tolerated`: calmMs, varied, calmMostMs at most. Beyond, from leastMs to mostMs where all fails. */
  | { kind: "by_share"; calmMs: number; calmMostMs: number; tolerated: number; leastMs: number; mostMs: number };

/**
 * What a call that was no success says of a group or key (key-state.ts says what follows):
 *   returned   nothing
 *   innocent   it works: something else was at fault
 *   limited    a window was full
 *   failed     the provider was in trouble
 *   refused    it is out of use. `untilInMs`: for so long, where that is known
 */
export type Said =
  | { kind: "returned" | "innocent" }
  | { kind: "limited" | "failed"; rest: Rest }
  | { kind: "refused"; firstMs: number; untilInMs: number | null };

export interface CallSays {
  group: Said;
  key: Said;
  /** What is full or out of use, for people: a window's name, "group", "key" or "nothing". */
  cools: string;
}

/** What a key group learns from one call. */
export interface CallFeedback {
  keyGroup: string;
  keyId: string;
  /** The request may have reached the provider. False: it was no attempt. */
  called: boolean;
  ok: boolean;
  latencyMs: number;
  /** Of prompt and answer, as the provider told: stands for what the lease reserved. Absent: what was reserved stays. */
  tokens?: number;
  /** Of them the prompt's. Absent: not known. */
  promptTokens?: number;
  /** As the spend answered. */
  startedAt?: string;
  /** Absent: the group is not to blame, whatever became of the call. */
  code?: ErrorCode;
  /** The refusal's cause, which says more than its code: "day" or "balance" of QUOTA_EXHAUSTED. Goes with the code alone. */
  reason?: string;
  /** Refused for its rate. */
  rateRefusal?: boolean;
  /** Refused because calls came closer upon one another than they were stamped: widens the guard. */
  cameTooEarly?: boolean;
  /** Refused by a provider that does not count refused calls: its place is free again. */
  takesNoPlace?: boolean;
  /** The network's part of the round trip; null or absent: not known. */
  networkMs?: number | null;
  /** Of a call that was no success; absent: nothing. */
  says?: CallSays;
  /** As the spend answered. Default: none. */
  probes?: Probed[];
  /** 0 to below 1, by which rests and probes vary. Default 0.5. */
  random?: number;
}

/** What became of a call's task. */
export type Ending =
  | { kind: "assessed"; verdict: object; meta: object }
  | { kind: "failed" | "expired"; error: { code: string; message: string }; meta: object }
  /** Tried again through the waiting room, for `avoidMs` not by this group where there is another. */
  | { kind: "back"; unreadable?: UnreadableAnswer; avoidMs: number };

/** Kept with the task, so that the next call can show the model what was wrong. */
export interface UnreadableAnswer {
  text: string;
  why: string;
}

export interface Settled {
  kind: "done" | "back" | "stale";
  word: string;
  /** The call made the group rest for so long from now on, ms; 0: it did not. */
  restMs: number;
}

/** What the store is told beside the groups. */
export interface StoreSettings {
  /** Ms for which records of tasks, of failed ones, and images are kept after their end. */
  recordMs: number;
  failedRecordMs: number;
  imageMs: number;
  /** How groups are chosen. Default: round robin. */
  routing?: Routing;
  /** Every policy that a task may have. Default: none but the one that allows all. */
  policies?: readonly RoutingPolicy[];
}

export interface Quota {
  /**
   * Makes these groups the known ones. Windows' logs outlive a group, by account; groups of one account count in all windows
   * that any of them has. Tasks that were on their way to a group that is gone, or has no key any more, are back in the
   * waiting room when it resolves; calls under way go on. `renewed`: keys that begin anew, whatever a provider held against
   * them.
   */
  register(
    groups: readonly KeyGroup[],
    settings: StoreSettings,
    renewed?: readonly { keyGroup: string; keyId: string }[],
  ): Promise<{
    /** Ids of the policies that allow none of these groups, or only such as have no key. */
    unserved: string[];
  }>;
  /**
   * Tells the store the days of the groups' time zones anew. To be called every few minutes: after eight days without
   * it windows of kind calendar let nothing through.
   */
  renewCalendar(groups: readonly KeyGroup[]): Promise<void>;
  /**
   * These policies are still in use: the store forgets those of which it hears nothing for a day, nor for as long as failed
   * tasks are kept. To be called every few minutes. False: it has forgotten one; register again.
   */
  renewPolicies(policies: readonly RoutingPolicy[]): Promise<boolean>;
  /** A living worker holds these keys for the next `forMs` (0: no longer): without it a group gets no lease. */
  hold(keys: readonly { keyGroup: string; keyId: string }[], forMs: number): Promise<void>;
  /** By a worker that has started: its secrets may be others than those that were refused, so that these are probed at once. */
  probeNow(keys: readonly { keyGroup: string; keyId: string }[]): Promise<void>;
  /** Best tasks and leases, at most `most`. */
  take(most: number): Promise<TakeAnswer>;
  /** Their jobs are in their queues. */
  markQueued(taken: readonly Taken[]): Promise<void>;
  /** Spends the lease now, and once or twice again when the answer took longer than the guard allows. */
  spend(
    lease: { taskId: string; epoch: number; keyGroup: string },
    worker: string,
    callTimeoutMs: number,
    stalled: boolean,
  ): Promise<SpendAnswer>;
  /** The request left later than its lease was stamped: the stamp moves to now. */
  restamp(lease: { taskId: string; epoch: number }): Promise<void>;
  /** Ends a call: key group and task in one step. */
  settle(lease: { taskId: string; epoch: number }, ending: Ending, feedback: CallFeedback | null): Promise<Settled>;
  /**
   * Groups that need a worker: given a job within the last `withinMs`; with `everyQueue` also those with jobs in their queue
   * however they got there, which costs a look at each.
   */
  stirring(withinMs: number, everyQueue: boolean): Promise<string[]>;
  /** Removed groups with jobs in their queue, which any worker may bring to the waiting room. */
  leaving(): Promise<string[]>;
  /** Every key group as people see it, by id. */
  snapshot(): Promise<KeyGroupEvent[]>;
  /**
   * The same of those alone that are at work, and of `also`, as they stood at `atMs` by the store's clock. Where `others` has
   * changed, other groups may have changed too.
   */
  look(also: readonly string[]): Promise<{ groups: KeyGroupEvent[]; others: string; atMs: number }>;
}
