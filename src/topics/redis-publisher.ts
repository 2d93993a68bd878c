/**
 * Appends messages to the Redis topics, in the order of the calls, each exactly once however often a connection breaks. A
 * store that came back without its newest writes gets those of the last seconds again.
 */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { keyToShard } from "./key-to-shard.ts";
import { type PublishCall, PublishedLately } from "./published-lately.ts";
import { messageToArguments } from "./redis-entries.ts";
import { scripts } from "./redis-scripts.ts";
import type { OutgoingMessage } from "./topic-log.ts";

/** One Lua call holds at most so much: the store does nothing else meanwhile. */
const MAX_MESSAGES_A_CALL = 500;
const MAX_BYTES_A_CALL = 4 * 1024 * 1024;

interface Waiting {
  topic: string;
  shards: number;
  messages: readonly OutgoingMessage[];
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * One append is under way at a time, and what is published meanwhile goes with the next one. That keeps the order, lets
 * the sequence number tell a call that was sent again, and costs nothing: many small publishes share a round trip.
 *
 * The store notes the number together with the messages, and so forgets both or neither. Each call names the one before it:
 * a store that does not know that one has forgotten it, appends nothing and says from where on. Those are then published
 * again, in order, before anything newer: none is left out and none comes twice.
 */
export class RedisPublisher {
  readonly #redis: Redis;
  readonly #producerKey: string;
  readonly #context: Context;
  readonly #lately = new PublishedLately();
  #sequence = 0;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  /** The store may have forgotten something, and nothing may be published that would show it. */
  #suspicious = false;
  #again = 0;

  constructor(redis: Redis, prefix: string, context: Context) {
    this.#redis = redis;
    this.#producerKey = `${prefix}producer:${randomUUID()}`;
    this.#context = context;
  }

  /** Messages that were published again since the store had forgotten them. */
  get again(): number {
    return this.#again;
  }

  /** `topic`: the topic's key. Resolves when all are appended and as durable as the store makes them. */
  publish(topic: string, shards: number, messages: readonly OutgoingMessage[]): Promise<void> {
    if (messages.length === 0) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ topic, shards, messages, resolve, reject });
    this.#running ??= this.#run();
    return promise;
  }

  /** The store has restarted and may have forgotten its newest writes: what it lacks is published again. */
  storeRolledBack(): void {
    this.#suspicious = true;
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // what is published in this very turn goes together
    while (this.#waiting.length > 0 || this.#suspicious) {
      if (this.#suspicious) await this.#look();
      const topic = this.#waiting[0]?.topic;
      // Calls for other topics wait for the next round; among themselves they keep their order.
      const together = this.#waiting.filter((each) => each.topic === topic);
      this.#waiting = this.#waiting.filter((each) => each.topic !== topic);
      await this.#append(together);
    }
    this.#running = undefined;
  }

  async #append(together: readonly Waiting[]): Promise<void> {
    try {
      for (const call of calls(together)) await this.#send({ ...call, sequence: ++this.#sequence });
      for (const each of together) each.resolve();
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : String(cause);
      const full = what.startsWith("OOM ");
      const error = new VigilaneError(
        full ? "STORE_FULL" : "STORE_AWAY",
        `the store did not take the messages: ${what}`,
        { cause },
      );
      for (const each of together) each.reject(error);
    }
  }

  async #send(call: PublishCall): Promise<void> {
    const { clock } = this.#context;
    let missing = await this.#call(call, this.#lately.newest(clock.monotonicMs()));
    while (missing < 0) {
      await this.#publishAgain(-1 - missing);
      missing = await this.#call(call, this.#lately.newest(clock.monotonicMs()));
    }
    this.#lately.keep(call, clock.monotonicMs());
  }

  /** Messages appended; below 0: none, since the store knows our calls only up to -1 - n. */
  async #call({ topic, sequence, args }: PublishCall, after: number): Promise<number> {
    const reply = await scripts.publish.run(this.#redis, [topic, this.#producerKey], [sequence, after, ...args]);
    return z.number().parse(reply);
  }

  async #look(): Promise<void> {
    this.#suspicious = false;
    if (this.#lately.newest(this.#context.clock.monotonicMs()) === 0) return;
    try {
      await this.#publishAgain(Number((await this.#redis.get(this.#producerKey)) ?? 0));
    } catch (err) {
      this.#context.log.warn(
        { err },
        "what the store has forgotten could not be published again; with the next message",
      );
    }
  }

  /** `seen`: the store knows our calls up to this one. */
  async #publishAgain(seen: number): Promise<void> {
    const before = this.#again;
    let known = seen;
    let lost = this.#lately.after(known);
    for (let next = lost.shift(); next; next = lost.shift()) {
      const appended = await this.#call(next, known);
      known = appended < 0 ? -1 - appended : next.sequence;
      if (appended < 0)
        lost = this.#lately.after(known); // the store died once more
      else this.#again += appended;
    }
    const messages = this.#again - before;
    if (messages > 0) this.#context.log.warn({ messages }, "published again what the store had taken and forgotten");
  }
}

/** Cuts what waits into calls of bounded size, in order. */
function* calls(together: readonly Waiting[]): Generator<Omit<PublishCall, "sequence">> {
  let args: (string | number | Buffer)[] = [];
  let count = 0;
  let bytes = 0;
  let topic = "";
  for (const waiting of together) {
    topic = waiting.topic;
    for (const message of waiting.messages) {
      if (count > 0 && (count === MAX_MESSAGES_A_CALL || bytes + message.value.length > MAX_BYTES_A_CALL)) {
        yield { topic, args, messages: count, bytes };
        args = [];
        count = 0;
        bytes = 0;
      }
      args.push(...messageToArguments(message, keyToShard(message.key, waiting.shards)));
      count += 1;
      bytes += message.value.length;
    }
  }
  if (count > 0) yield { topic, args, messages: count, bytes };
}
