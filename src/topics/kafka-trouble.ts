/**
 * What keeps the brokers from us while we run: found out by asking them anew, said once, and taken back when they answer.
 * It cures nothing: whoever noticed goes on trying meanwhile.
 */
import type { Context } from "../context.ts";
import { explain, VigilaneError } from "../errors.ts";
import type { TopicTrouble } from "../events.ts";
import { askKafka } from "./ask-kafka.ts";
import type { KafkaConnection } from "./kafka-connection.ts";

/** Between two looks, while something is wrong. */
const LOOK_MS = 2_000;
/** Brokers that hang refuse nothing: what has no answer after so long is worth a look, long before kafkajs gives it up. */
const SLOW_MS = 3_000;

export class KafkaTrouble {
  readonly #connection: KafkaConnection;
  readonly #context: Context;
  readonly #signal: AbortSignal;
  #looking: Promise<void> | undefined;
  #said: TopicTrouble | undefined;

  /** Looks no more when `signal` aborts. */
  constructor(connection: KafkaConnection, context: Context, signal: AbortSignal) {
    this.#connection = connection;
    this.#context = context;
    this.#signal = signal;
  }

  /** What is wrong; null: nothing that we know of. */
  now(): TopicTrouble | null {
    return this.#said ?? null;
  }

  /** What `work` resolves with; when it takes long, that is noticed. */
  async watch<T>(work: Promise<T>): Promise<T> {
    const done = new AbortController();
    const slow = this.#context.clock.sleep(SLOW_MS, done.signal).then(() => this.noticed());
    slow.catch(() => {});
    return await work.finally(() => done.abort());
  }

  /** To be called when something failed, as often as it does: it looks by itself until all is well. */
  noticed(): void {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  async #look(): Promise<void> {
    const { clock, log } = this.#context;
    const sinceMs = clock.nowMs();
    while (!this.#signal.aborted) {
      try {
        await askKafka(this.#connection, this.#context);
        if (this.#said && !this.#signal.aborted) log.info("Kafka answers again");
        this.#said = undefined;
        return;
      } catch (error) {
        if (this.#signal.aborted) return;
        const { code, message, remedy } = troubleOf(error);
        if (this.#said?.code !== code) log.warn({ code }, explain(error));
        this.#said = { code, message, remedy, sinceMs: this.#said?.sinceMs ?? sinceMs };
      }
      await clock.sleep(LOOK_MS, this.#signal).catch(() => {});
    }
  }
}

function troubleOf(error: unknown): VigilaneError {
  if (error instanceof VigilaneError) return error;
  return new VigilaneError("BROKER_AWAY", `the brokers could not be asked: ${explain(error)}`, { cause: error });
}
