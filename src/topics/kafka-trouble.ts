/**
 * What keeps the brokers from us while we run: found out by asking them anew, said once, and taken back when they answer.
 * It cures nothing: whoever noticed goes on trying meanwhile.
 */
import type { Context } from "../context.ts";
import { errorCode, explain } from "../errors.ts";
import { askKafka } from "./ask-kafka.ts";
import type { KafkaConnection } from "./kafka-connection.ts";

/** Between two looks, while something is wrong. */
const LOOK_MS = 2_000;

export class KafkaTrouble {
  readonly #connection: KafkaConnection;
  readonly #context: Context;
  readonly #signal: AbortSignal;
  #looking: Promise<void> | undefined;
  #said: { code: string; words: string } | undefined;

  /** Looks no more when `signal` aborts. */
  constructor(connection: KafkaConnection, context: Context, signal: AbortSignal) {
    this.#connection = connection;
    this.#context = context;
    this.#signal = signal;
  }

  /** What is wrong, in words; "": nothing that we know of. */
  now(): string {
    return this.#said?.words ?? "";
  }

  /** To be called when something failed, as often as it does: it looks by itself until all is well. */
  noticed(): void {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  async #look(): Promise<void> {
    const { clock, log } = this.#context;
    while (!this.#signal.aborted) {
      try {
        await askKafka(this.#connection, this.#context);
        if (this.#said && !this.#signal.aborted) log.info("Kafka answers again");
        this.#said = undefined;
        return;
      } catch (error) {
        if (this.#signal.aborted) return;
        const code = errorCode(error) ?? "";
        const words = explain(error);
        if (this.#said?.code !== code) log.warn({ code }, words);
        this.#said = { code, words };
      }
      await clock.sleep(LOOK_MS, this.#signal).catch(() => {});
    }
  }
}
