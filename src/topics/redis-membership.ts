/** A consumer's place in its group: keeps the lease, takes its fair share of shards, gives up what others need. */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { scripts } from "./redis-scripts.ts";
import { newLine, type ShardLine } from "./shard-line.ts";

const Row = z.tuple([z.number(), z.string(), z.string(), z.string(), z.string(), z.number()]);
const TickReply = z.union([z.tuple([z.literal("replaced")]), z.tuple([z.literal("ok"), z.number()]).rest(Row)]);

export interface MemberOf {
  /** Keys of the topic and of the group in it. */
  topicKey: string;
  groupKey: string;
  group: string;
  consumer: string;
  from: "earliest" | "latest";
  leaseMs: number;
}

export class RedisMembership {
  /** Unlike the consumer's name never used twice: what owns shards, and what fencing compares. */
  readonly instance = randomUUID();
  /** The shards owned now, by number. Whoever awaited something looks again whether its line is still the one here. */
  readonly lines = new Map<number, ShardLine>();
  readonly #redis: Redis;
  readonly #of: MemberOf;
  readonly #context: Context;
  #joined = false;
  #replaced = false;

  constructor(redis: Redis, of: MemberOf, context: Context) {
    this.#redis = redis;
    this.#of = of;
    this.#context = context;
  }

  /** Renews the lease and brings `lines` up to date. To be called well within each lease, and when woken. */
  async tick(): Promise<void> {
    const { topicKey, groupKey, group, consumer, from, leaseMs } = this.#of;
    const args = [consumer, this.instance, leaseMs, this.#joined ? "0" : "1", from, group];
    const reply = TickReply.parse(await scripts.tick.run(this.#redis, [topicKey, groupKey], args));
    this.#joined = true;
    if (reply[0] === "replaced") return this.#stepAside();
    this.#replaced = false;
    const [, excess, ...rows] = reply;
    const owned = new Set(rows.map(([shard]) => shard));
    for (const shard of this.lines.keys()) if (!owned.has(shard)) this.lines.delete(shard);
    for (const row of rows) {
      if (this.lines.get(row[0])?.token !== row[1]) this.lines.set(row[0], newLine(...row));
    }
    this.#chooseCeded(excess);
    await this.cede();
  }

  /** Releases the shards that others need and that have nothing out any more. */
  async cede(): Promise<void> {
    const ceded = [...this.lines.values()].filter((line) => line.ceding && line.out === "nothing");
    if (ceded.length === 0) return;
    for (const line of ceded) this.lines.delete(line.shard);
    await this.#release(ceded, "0");
  }

  /** Gives up everything at once, so that another consumer need not wait for the lease's end. */
  async leave(): Promise<void> {
    const all = [...this.lines.values()];
    this.lines.clear();
    if (this.#joined) await this.#release(all, "1");
  }

  /** Idle shards first, so that nobody waits for a batch without need. */
  #chooseCeded(excess: number): void {
    const lines = [...this.lines.values()];
    for (const line of lines) line.ceding &&= excess > 0;
    const idleFirst = lines.sort(
      (a, b) => Number(b.ceding) - Number(a.ceding) || Number(a.out !== "nothing") - Number(b.out !== "nothing"),
    );
    idleFirst.forEach((line, i) => {
      line.ceding = i < excess;
    });
  }

  async #release(lines: readonly ShardLine[], leave: "0" | "1"): Promise<void> {
    const pairs = lines.flatMap((line) => [line.shard, line.token]);
    await scripts.release.run(this.#redis, [this.#of.groupKey], [this.#of.consumer, this.instance, leave, ...pairs]);
  }

  #stepAside(): void {
    this.lines.clear();
    if (!this.#replaced) {
      const { topicKey, group, consumer } = this.#of;
      this.#context.log.warn({ topic: topicKey, group, consumer }, "a newer consumer of the same name has taken over");
    }
    this.#replaced = true;
  }
}
