/** One batch on its way to its end: acknowledge, giveBack and deadLetter as fenced calls to the store. */
import type { Redis } from "ioredis";
import { errorCode, VigilaneError } from "../errors.ts";
import { messageToFields } from "./redis-entries.ts";
import { scripts } from "./redis-scripts.ts";
import { type Batch, deadLetterHeaders, type TopicMessage } from "./topic-log.ts";

export interface BatchPlace {
  redis: Redis;
  topicKey: string;
  groupKey: string;
  deadLetterKey: string;
  shard: number;
  /** Who has the shard: instance and fencing token, and the store's run ("": any). */
  fence: readonly [instance: string, token: string, run: string];
  suspect: boolean;
  /** Called once, when the store has noted the end. `giveBack`: the messages go back to the head of the line. */
  ended(how: "done" | "back", afterMs: number): void;
  /** Called when the store says that the shard is somebody else's. */
  lost(): void;
}

export class RedisBatch implements Batch {
  readonly shard: number;
  readonly messages: readonly TopicMessage[];
  readonly #place: BatchPlace;
  #end: Promise<void> | undefined;

  constructor(messages: readonly TopicMessage[], place: BatchPlace) {
    this.shard = place.shard;
    this.messages = messages;
    this.#place = place;
  }

  acknowledge(): Promise<void> {
    return this.#endWith("done", 0);
  }

  giveBack(afterMs = 0): Promise<void> {
    return this.#endWith("back", afterMs);
  }

  async deadLetter(message: TopicMessage, reason: { code: string; message: string }): Promise<void> {
    const { redis, groupKey, deadLetterKey, shard, fence } = this.#place;
    const fields = messageToFields({
      ...message,
      headers: { ...message.headers, ...deadLetterHeaders(message, reason) },
    });
    const args = [shard, ...fence, message.position, ...fields];
    const noted = await scripts.deadLetter.run(redis, [groupKey, deadLetterKey], args);
    if (noted !== 1) throw this.#lost();
  }

  #endWith(how: "done" | "back", afterMs: number): Promise<void> {
    if (this.#end) return Promise.reject(new Error(`the batch of shard ${this.shard} has ended already`));
    this.#end = this.#settle(how, afterMs).catch((error: unknown) => {
      // The store refused (read-only, say): the batch is still out, and may be ended by another try.
      if (errorCode(error) !== "OWNERSHIP_LOST") this.#end = undefined;
      throw error;
    });
    return this.#end;
  }

  async #settle(how: "done" | "back", afterMs: number): Promise<void> {
    const { redis, topicKey, groupKey, shard, fence, suspect } = this.#place;
    const last = this.messages.at(-1)?.position ?? "0-0";
    const args = [shard, ...fence, how, last, this.messages.length, suspect ? "1" : "0"];
    const noted = await scripts.settle.run(redis, [topicKey, groupKey], args);
    if (noted !== 1) throw this.#lost();
    this.#place.ended(how, afterMs);
  }

  #lost(): VigilaneError {
    this.#place.lost();
    return new VigilaneError(
      "OWNERSHIP_LOST",
      `shard ${this.shard} of ${this.#place.topicKey} has another owner by now`,
    );
  }
}
