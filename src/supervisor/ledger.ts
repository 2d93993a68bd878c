/**
 * What was detected against what became of it, kept apart from the bridge on purpose: it knows the two topics alone, so
 * that a group that the rest of the system forgot is missing here. In bounded memory: open groups, and the newest
 * finished ones to tell a second result from a first.
 */
import type { Outcome } from "../messages.ts";

/** Finished results that are remembered; a second result that comes after so many others is not noticed. */
const REMEMBERED = 300_000;
/** Results that came before their detection was read here (or whose detection came before the audit began). */
const MOST_EARLY = 100_000;

export class Ledger {
  groups = 0;
  duplicates = 0;
  /** Groups whose detection came again: published twice, or again by a producer whose first one the store had forgotten. */
  detectedAgain = 0;
  readonly outcomes: Record<Outcome, number> = { assessed: 0, reused: 0, failed: 0, expired: 0, superseded: 0 };
  /** Open groups by task id: when their outcome is due, ms since the epoch; Infinity: whenever. */
  readonly #open = new Map<string, number>();
  readonly #done = new Set<string>();
  readonly #early = new Map<string, { revision: number; outcome: Outcome }>();

  get lost(): number {
    return this.#open.size;
  }

  /** The last moment at which an open group's outcome is due; undefined: none is open. */
  get lastDueMs(): number | undefined {
    let last: number | undefined;
    for (const dueMs of this.#open.values()) last = Math.max(last ?? dueMs, dueMs);
    return last;
  }

  /** Some of the open groups' task ids, for the report of what was lost. */
  someOpen(count: number): string[] {
    return [...this.#open.keys()].slice(0, count);
  }

  /** `groupIndices`: of all entries of trafficGroups, in their order, repeats and all. */
  detected(messageId: string, groupIndices: readonly number[], dueMs: number): void {
    const seen = new Map<number, number>();
    for (const index of groupIndices) {
      const nth = (seen.get(index) ?? 0) + 1;
      seen.set(index, nth);
      const taskId = `${messageId}_group${index}${nth > 1 ? `_${nth}` : ""}`;
      if (this.#open.has(taskId) || this.#done.has(`${taskId}#1`)) {
        this.detectedAgain += 1; // the same detection, appended twice
        continue;
      }
      this.groups += 1;
      this.#open.set(taskId, dueMs);
      const early = this.#early.get(taskId);
      if (early && this.#early.delete(taskId)) this.result(taskId, early.revision, early.outcome);
    }
  }

  /** True when it is the first result of this revision of a group that the ledger counts. */
  result(taskId: string, revision: number, outcome: Outcome): boolean {
    const key = `${taskId}#${revision}`;
    if (this.#done.has(key)) {
      this.duplicates += 1;
      return false;
    }
    if (revision > 1) {
      if (!this.#done.has(`${taskId}#1`)) return false; // of a group from before the audit
      this.#remember(key);
      return true;
    }
    if (!this.#open.delete(taskId)) {
      this.#early.set(taskId, { revision, outcome });
      const oldest = this.#early.size > MOST_EARLY ? this.#early.keys().next().value : undefined;
      if (oldest !== undefined) this.#early.delete(oldest);
      return false;
    }
    this.outcomes[outcome] += 1;
    this.#remember(key);
    return true;
  }

  /** Whether this group is one that the ledger counts (as long as it is remembered). */
  knows(taskId: string): boolean {
    return this.#open.has(taskId) || this.#done.has(`${taskId}#1`);
  }

  #remember(key: string): void {
    this.#done.add(key);
    const oldest = this.#done.size > REMEMBERED ? this.#done.values().next().value : undefined;
    if (oldest !== undefined) this.#done.delete(oldest);
  }
}
