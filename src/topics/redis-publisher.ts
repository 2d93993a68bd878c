/** Appends messages to the Redis topics, in the order of the calls, each exactly once however often a connection breaks. */
import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { VigilaneError } from "../errors.ts";
import { keyToShard } from "./key-to-shard.ts";
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
 */
export class RedisPublisher {
  readonly #redis: Redis;
  readonly #producerKey: string;
  #sequence = 0;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;

  constructor(redis: Redis, prefix: string) {
    this.#redis = redis;
    this.#producerKey = `${prefix}producer:${randomUUID()}`;
  }

  /** `topic`: the topic's key. Resolves when all are appended and as durable as the store makes them. */
  publish(topic: string, shards: number, messages: readonly OutgoingMessage[]): Promise<void> {
    if (messages.length === 0) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ topic, shards, messages, resolve, reject });
    this.#running ??= this.#run();
    return promise;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // what is published in this very turn goes together
    while (this.#waiting.length > 0) {
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
      for (const { topic, args } of calls(together)) {
        this.#sequence += 1;
        await scripts.publish.run(this.#redis, [topic, this.#producerKey], [this.#sequence, ...args]);
      }
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
}

/** Cuts what waits into calls of bounded size, in order. */
function* calls(together: readonly Waiting[]) {
  let args: (string | number | Buffer)[] = [];
  let count = 0;
  let bytes = 0;
  let topic = "";
  for (const waiting of together) {
    topic = waiting.topic;
    for (const message of waiting.messages) {
      if (count > 0 && (count === MAX_MESSAGES_A_CALL || bytes + message.value.length > MAX_BYTES_A_CALL)) {
        yield { topic, args };
        args = [];
        count = 0;
        bytes = 0;
      }
      args.push(...messageToArguments(message, keyToShard(message.key, waiting.shards)));
      count += 1;
      bytes += message.value.length;
    }
  }
  if (count > 0) yield { topic, args };
}
