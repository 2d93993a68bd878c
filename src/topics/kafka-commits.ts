/** Notes the marks of owned lines with the coordinator: one request at a time, and in it whatever has come meanwhile. */
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
  #working: Promise<void> | undefined;

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
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
    return noted;
  }

  async #work(): Promise<void> {
    for (let failures = 0; this.#waiting.length > 0; ) {
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
  }

  async #failed(error: unknown, mine: readonly Waiting[], failures: number): Promise<void> {
    const { clock, log } = this.#context;
    if (this.#signal.aborted || errorCode(error) === "OWNERSHIP_LOST") {
      for (const each of mine) each.reject(lost(each.line));
      return;
    }
    if (isRefusal(error)) {
      const why = error instanceof Error ? error.message : String(error);
      for (const each of mine) each.reject(new VigilaneError("BROKER_REFUSED", why, { cause: error }));
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
