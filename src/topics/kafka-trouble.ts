/**
 * What keeps the brokers from us while we run: found out by asking them anew, said once, and taken back when they answer.
 * Brokers that answer, and yet take nothing for a topic or for partitions of it, are told by the sends that fail. It cures
 * nothing: whoever noticed goes on trying meanwhile.
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
/** A partition of it alone, while others take what they are sent: then surely no leader's change. */
const PARTITION_REFUSED_MS = 20_000;
/** Who sends to it tries again sooner, or does so no more (another bridge is at it): then an old failure says nothing. */
const FORGOTTEN_MS = 60_000;

/**
 * Where a send goes to. Without a partition: to the topic as a whole, since it goes to several of its partitions, or since what
 * ails it is the message's own.
 */
export interface SentTo {
  topic: string;
  partition?: number;
}

/** Sends to one place that have failed, without a success between. Times are monotonic, but `sinceMs`. */
interface Failing extends SentTo {
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
  /** By place. */
  readonly #failing = new Map<string, Failing>();
  /** When a topic last took something, monotonic. */
  readonly #taken = new Map<string, number>();
  /** The place that is said to refuse. */
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

  /** A send, begun at `begunMs` (monotonic), failed by what Kafka or the way to it says. To be called each time. */
  sendFailed(to: SentTo, error: unknown, begunMs: number): void {
    const { clock } = this.#context;
    for (const place of this.#failing.keys()) if (!this.#lately(place)) this.#failing.delete(place);
    const lastMs = clock.monotonicMs();
    const firstMs = Math.max(begunMs, this.#foundMs);
    const first = { sinceMs: clock.nowMs() - (lastMs - firstMs), fromMs: firstMs };
    const { sinceMs, fromMs } = this.#failing.get(placeOf(to)) ?? first;
    this.#failing.set(placeOf(to), { ...to, sinceMs, fromMs, lastMs, error });
    if (lastMs - fromMs >= REFUSED_MS) this.noticed();
  }

  /** A send succeeded. */
  sent(to: SentTo): void {
    this.#taken.set(to.topic, this.#context.clock.monotonicMs());
    for (const place of new Set([placeOf(to), to.topic])) {
      this.#failing.delete(place);
      if (this.#refusing !== place) continue;
      this.#context.log.info({ ...to }, "Kafka takes messages again");
      this.#refusing = undefined;
      this.#findRefusing();
    }
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

  /** The brokers answer: says which place has taken nothing for too long, the first of them. */
  #findRefusing(): void {
    if (this.#refusal()) return;
    this.#refusing = [...this.#failing.keys()].find((place) => this.#refuses(place));
    const refusal = this.#refusal();
    if (refusal) this.#context.log.warn({ code: refusal.code }, refusal.message);
  }

  #refusal(): TopicTrouble | undefined {
    const failing = this.#refusing === undefined ? undefined : this.#lately(this.#refusing);
    if (failing === undefined) return undefined;
    const { topic, error, sinceMs } = failing;
    return { ...refusalToTrouble({ topic, partitions: this.#partitionsLike(failing) }, error), sinceMs };
  }

  /** Those that refuse together with this one while others of the topic do not; none: it is the topic. */
  #partitionsLike(failing: Failing): number[] {
    if (!this.#takesOthers(failing)) return [];
    return [...this.#failing]
      .filter(([place, one]) => one === failing || (one.topic === failing.topic && this.#refuses(place)))
      .flatMap(([, { partition }]) => partition ?? []);
  }

  #refuses(place: string): boolean {
    const failing = this.#lately(place);
    if (failing === undefined) return false;
    return failing.lastMs - failing.fromMs >= (this.#takesOthers(failing) ? PARTITION_REFUSED_MS : REFUSED_MS);
  }

  /** Other partitions of its topic take what they are sent. */
  #takesOthers({ topic, fromMs }: Failing): boolean {
    return (this.#taken.get(topic) ?? Number.NEGATIVE_INFINITY) > fromMs;
  }

  #lately(place: string): Failing | undefined {
    const failing = this.#failing.get(place);
    return failing && this.#context.clock.monotonicMs() - failing.lastMs < FORGOTTEN_MS ? failing : undefined;
  }
}

const placeOf = ({ topic, partition }: SentTo) => (partition === undefined ? topic : `${topic}/${partition}`);

function troubleOf(error: unknown): VigilaneError {
  if (error instanceof VigilaneError) return error;
  return new VigilaneError("BROKER_AWAY", `the brokers could not be asked: ${explain(error)}`, { cause: error });
}
