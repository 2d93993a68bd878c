/**
 * A consumer of the Redis topics. Three things go on side by side: the membership is renewed (tick), messages are read
 * ahead from all owned shards with one blocking XREAD (read), and batches go to whoever iterates (batches).
 *
 * Reading is no promise: XREAD changes nothing in the store. Only handing out and ending a batch do, both fenced, so
 * a consumer that was stopped and wakes up can neither swallow nor acknowledge what belongs to somebody else by now.
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { loop, within } from "../lifecycle.ts";
import { Bell } from "./bell.ts";
import { buryPoison, POISON_STRIKES } from "./poison.ts";
import { type BatchPlace, RedisBatch } from "./redis-batch.ts";
import type { StoredMessage } from "./redis-entries.ts";
import { type MemberOf, RedisMembership } from "./redis-membership.ts";
import { ReadAhead } from "./redis-read.ts";
import { scripts } from "./redis-scripts.ts";
import { isSuspect, msUntilDue, nextLine, type ShardLine, takeBatch, withDeliveries } from "./shard-line.ts";
import type { Batch, SubscribeOptions, Subscription } from "./topic-log.ts";

const DEFAULT_MAX_MESSAGES = 200;
const RETRY_MS = 1_000;
/** How long a close waits for a store that does not answer. */
const CLOSE_MS = 2_000;

const HandOutReply = z.union([z.tuple([z.literal("lost")]), z.tuple([z.literal("ok"), z.number()])]);

export interface SubscriptionParts extends MemberOf {
  topic: string;
  deadLetterKey: string;
  commands: Redis;
  /** A connection of its own for the blocking read; the subscription ends it. */
  reader: Redis;
  /** Creates the topic where it is missing. */
  prepare: () => Promise<unknown>;
  /** The store's run that batches are bound to; "" where a restart of the store loses nothing. */
  storeRun: () => string;
  options: SubscribeOptions;
}

export class RedisSubscription implements Subscription {
  readonly #parts: SubscriptionParts;
  readonly #context: Context;
  readonly #membership: RedisMembership;
  readonly #reading: ReadAhead;
  readonly #onClosed: () => void;
  readonly #abort = new AbortController();
  /** Something may be handed out now, or the end has come. */
  readonly #news = new Bell();
  /** Shards have changed hands: tick now. */
  readonly #shardsChanged = new Bell();
  #working: Promise<unknown> | undefined;
  #handingOut: Promise<unknown> | undefined;
  #closed: Promise<void> | undefined;
  #prepared = false;
  #paused = false;
  #attempts = 0;

  /** `closed` is called once, when nothing is held any more. */
  constructor(parts: SubscriptionParts, context: Context, closed: () => void) {
    this.#parts = parts;
    this.#context = context;
    this.#onClosed = closed;
    this.#membership = new RedisMembership(parts.commands, parts, context);
    this.#reading = new ReadAhead(parts, this.#membership.lines);
  }

  async *batches(): AsyncGenerator<Batch> {
    if (this.#working) throw new Error("a subscription's batches can be iterated once");
    this.#working = this.#work();
    try {
      while (!this.#abort.signal.aborted) {
        const { clock } = this.#context;
        const line = this.#paused ? undefined : nextLine([...this.#membership.lines.values()], clock.monotonicMs());
        if (line === undefined) {
          await this.#news.wait(clock, msUntilDue([...this.#membership.lines.values()], clock.monotonicMs()));
          continue;
        }
        const handingOut = this.#handOut(line);
        this.#handingOut = handingOut;
        const batch = await handingOut;
        if (batch) yield batch;
      }
    } finally {
      await this.close();
    }
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#news.ring();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** The store came back without its newest writes: what was read from it before counts for nothing. */
  storeRolledBack(): void {
    this.#prepared = false;
    this.#membership.lines.clear();
    this.#reading.storeRolledBack();
    this.#shardsChanged.ring();
  }

  #work(): Promise<unknown> {
    const { signal } = this.#abort;
    const what = `${this.#parts.group} on ${this.#parts.topic}`;
    return Promise.all([
      loop(this.#context, signal, `membership of ${what}`, () => this.#tick()),
      loop(this.#context, signal, `reading for ${what}`, () => this.#read()),
    ]);
  }

  async #tick(): Promise<void> {
    try {
      if (!this.#prepared) await this.#parts.prepare();
      this.#prepared = true;
      await this.#membership.tick();
    } catch (error) {
      this.#prepared = false;
      throw error;
    }
    this.#news.ring();
    await this.#reading.refresh();
    if (!this.#abort.signal.aborted) await this.#shardsChanged.wait(this.#context.clock, this.#parts.leaseMs / 3);
  }

  async #read(): Promise<void> {
    const { shardsChanged } = await this.#reading.once();
    if (shardsChanged) this.#shardsChanged.ring();
    this.#news.ring();
  }

  /** Undefined: nothing to give after all (another owner, poison, or the end). */
  async #handOut(line: ShardLine): Promise<Batch | undefined> {
    const { lines } = this.#membership;
    const suspect = isSuspect(line);
    const stored = takeBatch(line, this.#parts.options.maxMessages ?? DEFAULT_MAX_MESSAGES);
    line.out = suspect ? "suspect" : "batch";
    lines.delete(line.shard); // to the end of the queue for the next turn
    lines.set(line.shard, line);
    const strikes = await this.#note(line, stored, suspect);
    if (strikes === "lost") return this.#drop(line);
    const messages = stored.map((message) => withDeliveries(message, line, suspect ? 2 + strikes : 1));
    const batch = new RedisBatch(messages, this.#place(line, stored, suspect));
    if (this.#abort.signal.aborted) return void (await batch.giveBack().catch(() => {}));
    if (strikes >= POISON_STRIKES) {
      await buryPoison(batch, strikes, this.#parts.options, RETRY_MS, this.#context);
      return undefined;
    }
    await this.#reading.refresh();
    return batch;
  }

  /** Says to the store that the messages go out; resolves with the strikes of the suspect. */
  async #note(line: ShardLine, stored: readonly StoredMessage[], suspect: boolean): Promise<number | "lost"> {
    const { commands, groupKey, storeRun } = this.#parts;
    this.#attempts += 1;
    const last = stored.at(-1)?.position ?? "0-0";
    const fence = [line.shard, this.#membership.instance, line.token, storeRun()];
    const args = [...fence, last, this.#attempts, suspect ? "1" : "0"];
    try {
      const [answer, strikes] = HandOutReply.parse(await scripts.handOut.run(commands, [groupKey], args));
      return answer === "ok" && strikes !== undefined ? strikes : "lost";
    } catch (err) {
      if (this.#abort.signal.aborted) return "lost";
      this.#context.log.warn({ err, shard: line.shard }, "could not hand out messages, will be tried again");
      await this.#context.clock.sleep(RETRY_MS, this.#abort.signal).catch(() => {});
      return "lost"; // the next tick begins this shard anew from its position
    }
  }

  #place(line: ShardLine, stored: StoredMessage[], suspect: boolean): BatchPlace {
    const { commands, topicKey, groupKey, deadLetterKey, storeRun } = this.#parts;
    return {
      ...{ redis: commands, topicKey, groupKey, deadLetterKey, shard: line.shard, suspect },
      fence: [this.#membership.instance, line.token, storeRun()],
      lost: () => void this.#drop(line),
      ended: (how, afterMs) => {
        line.out = "nothing";
        if (how === "back") {
          line.ahead.unshift(...stored);
          line.returnedUntil = stored.at(-1)?.position ?? line.returnedUntil;
          line.returns += 1;
          line.notBeforeMs = this.#context.clock.monotonicMs() + afterMs;
        }
        this.#news.ring();
        if (line.ceding) this.#shardsChanged.ring();
      },
    };
  }

  #drop(line: ShardLine): undefined {
    if (this.#membership.lines.get(line.shard) === line) this.#membership.lines.delete(line.shard);
    this.#shardsChanged.ring();
  }

  async #close(): Promise<void> {
    this.#abort.abort();
    this.#parts.reader.disconnect();
    this.#news.ring();
    this.#shardsChanged.ring();
    // Without the store nothing of this comes to an end, and the lease simply runs out.
    const left = Promise.all([this.#working, this.#handingOut])
      .then(() => this.#membership.leave())
      .catch((err: unknown) => this.#context.log.debug({ err }, "could not leave the group cleanly"));
    await within(this.#context.clock, CLOSE_MS, "leaving the group", () => left).catch(() => {});
    this.#onClosed();
  }
}
