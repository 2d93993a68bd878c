/** What was asked, accepted and answered in one pipeline test. */
import type { Detection } from "../messages.ts";
import { Histogram } from "../supervisor/histogram.ts";
import { ResultsSeen } from "./pipeline-results.ts";

export class Tally {
  /** Task id → the moment of its group, ms since the epoch; noted before it is sent, since its result may be quick. */
  readonly askedAtMs = new Map<string, number>();
  readonly #requests = new Set<string>();
  readonly accepted = new Set<string>();
  readonly answered = new Set<string>();
  refused = 0;
  readonly acceptedAfter = new Histogram();
  readonly roundTrip = new Histogram();
  readonly results: ResultsSeen;

  /** `own`: only results of what was asked here count. */
  constructor(own: boolean) {
    this.results = new ResultsSeen((requestId) => !own || this.#requests.has(requestId));
  }

  ask({ messageId, capturedAt }: Detection): string {
    const taskId = `${messageId}_group1`;
    this.#requests.add(messageId);
    this.askedAtMs.set(taskId, Date.parse(capturedAt ?? ""));
    return taskId;
  }

  result(message: { value: Buffer }, nowMs: number): void {
    const taskId = this.results.take(message, nowMs);
    const atMs = taskId === undefined ? undefined : this.askedAtMs.get(taskId);
    if (taskId === undefined || atMs === undefined) return;
    this.answered.add(taskId);
    this.roundTrip.add(Math.max(0, nowMs - atMs));
  }

  missing(): string[] {
    return [...this.accepted].filter((taskId) => !this.answered.has(taskId));
  }
}
