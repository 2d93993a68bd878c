/**
 * Notes the marks of owned lines with the coordinator: one request at a time, and in it whatever has come meanwhile. So the end
 * of a batch and the hand-out of the next one are one request, where that is waited for already.
 */
import { setImmediate as restOfTurn } from "node:timers/promises";
import type { Context } from "../context.ts";
import { errorCode, VigilaneError } from "../errors.ts";
import { isRefusal, type KafkaCluster, kafkaErrorType } from "./kafka-client.ts";
import type { KafkaLine } from "./kafka-line.ts";
import type { Marks } from "./kafka-marks.ts";
import type { KafkaMembership } from "./kafka-membership.ts";

const FIRST_BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 1_000;

interface Waiting {
  line: KafkaLine;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export class KafkaCommits {
  readonly #membership: KafkaMembership;
  readonly #cluster: KafkaCluster;
  readonly #context: Context;
  readonly #signal: AbortSignal;
  #waiting: Waiting[] = [];
  #working = false;

  constructor(membership: KafkaMembership, cluster: KafkaCluster, context: Context, signal: AbortSignal) {
    this.#membership = membership;
    this.#cluster = cluster;
    this.#context = context;
    this.#signal = signal;
  }

  /**
   * Sets the line's marks; resolves when they are noted, waiting while the broker is away or the group is shared anew.
   * Rejects with OWNERSHIP_LOST when the line is somebody else's by now, or with BROKER_REFUSED.
   */
  note(line: KafkaLine, marks: Marks): Promise<void> {
    line.marks = marks;
    const noted = new Promise<void>((resolve, reject) => this.#waiting.push({ line, resolve, reject }));
    if (!this.#working) void this.#work();
    return noted;
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let failures = 0; this.#waiting.length > 0; ) {
      // What follows from what is noted here, such as the next batch's hand-out, comes before the next turn of the event loop.
      await restOfTurn();
      const turn = this.#waiting;
      this.#waiting = [];
      const mine = turn.filter(({ line }) => this.#membership.lines.get(line.shard) === line);
      for (const each of turn) if (!mine.includes(each)) each.reject(lost(each.line));
      if (mine.length === 0) continue;
      try {
        await this.#membership.commit(new Map(mine.map(({ line }) => [line.shard, line.marks])));
        failures = 0;
        for (const { resolve } of mine) resolve();
      } catch (error) {
        failures += 1;
        await this.#failed(error, mine, failures);
      }
    }
    this.#working = false; // in the same breath as the look above: what is noted a moment later begins anew
  }

  async #failed(error: unknown, mine: readonly Waiting[], failures: number): Promise<void> {
    const { clock, log } = this.#context;
    if (this.#signal.aborted || errorCode(error) === "OWNERSHIP_LOST") {
      for (const each of mine) each.reject(lost(each.line));
      return;
    }
    if (isRefusal(error)) {
      const why = error instanceof Error ? error.message : String(error);
      // With what has come of the same lines since: it builds on what was refused.
      const isRefused = ({ line }: Waiting) => mine.some((each) => each.line === line);
      const refused = [...mine, ...this.#waiting.filter(isRefused)];
      this.#waiting = this.#waiting.filter((each) => !isRefused(each));
      for (const each of refused) each.reject(new VigilaneError("BROKER_REFUSED", why, { cause: error }));
      return;
    }
    this.#waiting.unshift(...mine);
    log.debug({ failures, cause: String(error) }, "positions could not be committed, will be tried again");
    const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures, 10));
    await clock.sleep(backoffMs, this.#signal).catch(() => {});
    if (this.#membership.joined && kafkaErrorType(error) !== "REBALANCE_IN_PROGRESS") {
      await this.#cluster.recover(error).catch(() => {});
    }
  }
}

const lost = ({ shard }: KafkaLine) =>
  new VigilaneError("OWNERSHIP_LOST", `shard ${shard} has another owner by now, or is taken anew`);
