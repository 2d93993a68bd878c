/**
 * What keeps the brokers from us while we run: found out by asking them anew, said once, and taken back when they answer.
 * Brokers that answer, and yet take nothing for a topic, are told by the sends that fail. It cures nothing: whoever noticed
 * goes on trying meanwhile.
 */
import type { Context } from "../context.ts";
import { explain, VigilaneError } from "../errors.ts";
import type { TopicTrouble } from "../events.ts";
import { askKafka } from "./ask-kafka.ts";
import type { KafkaConnection } from "./kafka-connection.ts";
import { refusalToTrouble } from "./kafka-refusal.ts";

/** Between two looks, while something is wrong. */
const LOOK_MS = 2_000;
/** Brokers that hang refuse nothing: what has no answer after so long is worth a look, long before kafkajs gives it up. */
const SLOW_MS = 3_000;
/** A topic that has taken nothing for so long refuses; a leader's change is mostly over by then. */
const REFUSED_MS = 5_000;
/** Who sends to it tries again sooner, or does so no more (another bridge is at it): then an old failure says nothing. */
const FORGOTTEN_MS = 60_000;

/** Sends to a topic that have failed, without a success between. Times are monotonic, but `sinceMs`. */
interface Failing {
  /** When the first of them was begun, by the wall clock. */
  sinceMs: number;
  fromMs: number;
  lastMs: number;
  error: unknown;
}

export class KafkaTrouble {
  readonly #connection: KafkaConnection;
  readonly #context: Context;
  readonly #signal: AbortSignal;
  #looking: Promise<void> | undefined;
  /** What the last look has found. */
  #said: TopicTrouble | undefined;
  /** When a look last found something, monotonic: failures before are explained by that. */
  #foundMs = Number.NEGATIVE_INFINITY;
  readonly #failing = new Map<string, Failing>();
  /** The topic that is said to refuse. */
  #refusing: string | undefined;

  /** Looks no more when `signal` aborts. */
  constructor(connection: KafkaConnection, context: Context, signal: AbortSignal) {
    this.#connection = connection;
    this.#context = context;
    this.#signal = signal;
  }

  /** What is wrong; null: nothing that we know of. */
  now(): TopicTrouble | null {
    return this.#said ?? this.#refusal() ?? null;
  }

  /** The brokers are not there, or do not let us in: from them no answer is to be waited for. */
  away(): boolean {
    return this.#said !== undefined;
  }

  /** A send to `topic`, begun at `begunMs` (monotonic), failed by what Kafka or the way to it says. To be called each time. */
  sendFailed(topic: string, error: unknown, begunMs: number): void {
    const { clock } = this.#context;
    const lastMs = clock.monotonicMs();
    const firstMs = Math.max(begunMs, this.#foundMs);
    const first = { sinceMs: clock.nowMs() - (lastMs - firstMs), fromMs: firstMs };
    const { sinceMs, fromMs } = this.#lately(topic) ?? first;
    this.#failing.set(topic, { sinceMs, fromMs, lastMs, error });
    if (lastMs - fromMs >= REFUSED_MS) this.noticed();
  }

  /** A send to `topic` succeeded. */
  sent(topic: string): void {
    this.#failing.delete(topic);
    if (this.#refusing !== topic) return;
    this.#context.log.info({ topic }, "Kafka takes messages of this topic again");
    this.#refusing = undefined;
    this.#findRefusing();
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
        this.#findRefusing();
        // Sends that fail ask for a look as often as they are tried: not one after the other.
        if (this.#failing.size > 0) await clock.sleep(LOOK_MS, this.#signal).catch(() => {});
        return;
      } catch (error) {
        if (this.#signal.aborted) return;
        const { code, message, remedy } = troubleOf(error);
        if (this.#said?.code !== code) log.warn({ code }, explain(error));
        this.#said = { code, message, remedy, sinceMs: this.now()?.sinceMs ?? sinceMs };
        // This is why they fail. What fails after it begins anew.
        this.#foundMs = clock.monotonicMs();
        this.#failing.clear();
        this.#refusing = undefined;
      }
      await clock.sleep(LOOK_MS, this.#signal).catch(() => {});
    }
  }

  /** The brokers answer: says which topic has taken nothing for too long, the first of them. */
  #findRefusing(): void {
    if (this.#refusal()) return;
    const refusing = [...this.#failing.keys()].filter((topic) => {
      const failing = this.#lately(topic);
      return failing && failing.lastMs - failing.fromMs >= REFUSED_MS;
    });
    this.#refusing = refusing[0];
    const refusal = this.#refusal();
    if (refusal) this.#context.log.warn({ code: refusal.code, topic: this.#refusing }, refusal.message);
  }

  #refusal(): TopicTrouble | undefined {
    const failing = this.#refusing === undefined ? undefined : this.#lately(this.#refusing);
    if (this.#refusing === undefined || failing === undefined) return undefined;
    return { ...refusalToTrouble(this.#refusing, failing.error), sinceMs: failing.sinceMs };
  }

  #lately(topic: string): Failing | undefined {
    const failing = this.#failing.get(topic);
    return failing && this.#context.clock.monotonicMs() - failing.lastMs < FORGOTTEN_MS ? failing : undefined;
  }
}

function troubleOf(error: unknown): VigilaneError {
  if (error instanceof VigilaneError) return error;
  return new VigilaneError("BROKER_AWAY", `the brokers could not be asked: ${explain(error)}`, { cause: error });
}
