/** One batch on its way to its end: acknowledge, giveBack and deadLetter, fenced by the group's generation. */
import { errorCode } from "../errors.ts";
import { withHeaders } from "./foreign-record.ts";
import { type Batch, deadLetterHeaders, type OutgoingMessage, type TopicMessage } from "./topic-log.ts";

export interface BatchEnds {
  /** Notes the end; rejects with OWNERSHIP_LOST, or with what may be tried again. */
  end(how: "done" | "back", afterMs: number): Promise<void>;
  /** Publishes to the dead-letter topic. */
  bury(letter: OutgoingMessage): Promise<void>;
}

export class KafkaBatch implements Batch {
  readonly shard: number;
  readonly messages: readonly TopicMessage[];
  readonly #ends: BatchEnds;
  readonly #buried = new Map<string, Promise<void>>();
  #end: Promise<void> | undefined;

  constructor(shard: number, messages: readonly TopicMessage[], ends: BatchEnds) {
    this.shard = shard;
    this.messages = messages;
    this.#ends = ends;
  }

  acknowledge(): Promise<void> {
    return this.#endWith("done", 0);
  }

  giveBack(afterMs = 0): Promise<void> {
    return this.#endWith("back", afterMs);
  }

  /** Once for each message of this batch, however often it is called. */
  deadLetter(message: TopicMessage, reason: { code: string; message: string }): Promise<void> {
    const { position } = message;
    const before = this.#buried.get(position);
    if (before) return before;
    const burying = this.#ends.bury(withHeaders(message, deadLetterHeaders(message, reason)));
    this.#buried.set(position, burying);
    burying.catch(() => this.#buried.delete(position));
    return burying;
  }

  #endWith(how: "done" | "back", afterMs: number): Promise<void> {
    if (this.#end) return Promise.reject(new Error(`the batch of shard ${this.shard} has ended already`));
    this.#end = this.#ends.end(how, afterMs).catch((error: unknown) => {
      // The broker refused: the batch is still out, and may be ended by another try.
      if (errorCode(error) !== "OWNERSHIP_LOST") this.#end = undefined;
      throw error;
    });
    return this.#end;
  }
}
