/**
 * Publishing to Kafka: one send for each partition at a time, batched, idempotent, tried again for as long as the brokers
 * are away.
 *
 * A send over several partitions loses acknowledged messages in kafkajs 2.2.4 when a leader dies (tulios/kafkajs#1303); so
 * the partition is chosen here, and each send goes to one. What could not be sent is sent again as the very same batch,
 * which the broker knows by its sequence number. Where it has lost track of us, a new producer goes on.
 */
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import {
  COMPRESSIONS,
  type Compression,
  isRefusal,
  type Kafka,
  kafkaErrorType,
  type Producer,
} from "./kafka-client.ts";
import { messageToRecord } from "./kafka-records.ts";
import type { KafkaTrouble } from "./kafka-trouble.ts";
import type { OutgoingMessage } from "./topic-log.ts";

/** A batch waits so long for company, or until it is so large. */
const LINGER_MS = 10;
const BATCH_BYTES = 32 * 1024;
/** How long a leader waits for the copies in step. */
const ACKNOWLEDGE_MS = 5_000;
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1_000;
/** Of one record besides key, value and headers. */
const OVERHEAD_BYTES = 70;

/** The broker does not know where this producer's numbers stand: another one has to go on. */
const LOST_TRACK = [
  ...["OUT_OF_ORDER_SEQUENCE_NUMBER", "UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_EPOCH", "INVALID_PRODUCER_ID_MAPPING"],
  ...["PRODUCER_FENCED", "INVALID_TXN_STATE"],
];
const TOO_LARGE = ["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"];

interface Waiting {
  message: OutgoingMessage;
  bytes: number;
  atMs: number;
  resolve: () => void;
  reject: (error: unknown) => void;
}

interface Line {
  topic: string;
  partition: number;
  waiting: Waiting[];
  bytes: number;
  /** Ends the linger: the batch is full. */
  full?: AbortController;
  working?: Promise<void>;
}

export interface KafkaPublisherParts {
  kafka: Kafka;
  signal: AbortSignal;
  compression: Compression;
  /** Called before a batch is tried again: creates the topic where it is missing. */
  prepare: (topic: string) => Promise<unknown>;
  /** Hears of each send that fails or succeeds, and of those that are not answered. */
  trouble: Pick<KafkaTrouble, "noticed" | "watch" | "sendFailed" | "sent">;
}

export class KafkaPublisher {
  readonly #parts: KafkaPublisherParts;
  readonly #context: Context;
  readonly #lines = new Map<string, Line>();
  #producer: Promise<Producer> | undefined;
  #live: Producer | undefined;
  #away = false;

  constructor(parts: KafkaPublisherParts, context: Context) {
    this.#parts = parts;
    this.#context = context;
  }

  /** Resolves when all of `messages` are appended on every replica in step; each to the partition beside it. */
  async publish(
    topic: string,
    messages: readonly (readonly [partition: number, message: OutgoingMessage])[],
  ): Promise<void> {
    await Promise.all(messages.map(([partition, message]) => this.#append(topic, partition, message)));
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    await Promise.all([...this.#lines.values()].map((line) => line.working));
  }

  async close(): Promise<void> {
    for (const line of this.#lines.values()) line.full?.abort();
    await (await this.#producer?.catch(() => undefined))?.disconnect().catch(() => {});
  }

  #append(topic: string, partition: number, message: OutgoingMessage): Promise<void> {
    const id = `${topic}/${partition}`;
    const line: Line = this.#lines.get(id) ?? { topic, partition, waiting: [], bytes: 0 };
    this.#lines.set(id, line);
    const bytes = OVERHEAD_BYTES + message.key.length + message.value.length;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    line.waiting.push({ message, bytes, atMs: this.#context.clock.monotonicMs(), resolve, reject });
    line.bytes += bytes;
    if (line.bytes >= BATCH_BYTES) line.full?.abort();
    line.working ??= this.#work(line).finally(() => {
      delete line.working;
    });
    return promise;
  }

  async #work(line: Line): Promise<void> {
    while (line.waiting.length > 0) {
      await this.#linger(line);
      await this.#send(line, takeBatch(line));
    }
  }

  async #linger(line: Line): Promise<void> {
    const { clock } = this.#context;
    const leftMs = LINGER_MS - (clock.monotonicMs() - (line.waiting[0]?.atMs ?? 0));
    if (leftMs <= 0 || line.bytes >= BATCH_BYTES || this.#parts.signal.aborted) return;
    line.full = new AbortController();
    await clock.sleep(leftMs, line.full.signal).catch(() => {});
  }

  /** Until it is appended, refused, or the end. */
  async #send({ topic, partition }: Line, batch: readonly Waiting[]): Promise<void> {
    const { signal, trouble } = this.#parts;
    const { clock } = this.#context;
    const compression = COMPRESSIONS[this.#parts.compression];
    const messages = batch.map(({ message }) => ({ partition, ...messageToRecord(message) }));
    for (let failures = 0; ; ) {
      let producer: Producer | undefined;
      const begunMs = clock.monotonicMs();
      try {
        if (signal.aborted) throw new VigilaneError("STOPPED", "the topics were stopped");
        producer = await trouble.watch(this.#ready());
        const sent = producer.send({ topic, acks: -1, timeout: ACKNOWLEDGE_MS, compression, messages });
        const appended = await trouble.watch(sent);
        if (appended.length === 0) {
          // It has not heard of this partition yet, and has sent nothing.
          this.#replace(producer);
          continue;
        }
        this.#back();
        trouble.sent({ topic, partition });
        for (const { resolve } of batch) resolve();
        return;
      } catch (error) {
        const type = kafkaErrorType(error) ?? "";
        // Appended before, and its acknowledgement lost.
        if (type === "DUPLICATE_SEQUENCE_NUMBER") {
          trouble.sent({ topic, partition });
          for (const { resolve } of batch) resolve();
          return;
        }
        if (TOO_LARGE.includes(type) && batch.length > 1) {
          for (const each of batch) await this.#send({ topic, partition, waiting: [], bytes: 0 }, [each]);
          return;
        }
        // What is wrong with a message says nothing of its partition.
        const to = TOO_LARGE.includes(type) ? { topic } : { topic, partition };
        if (!signal.aborted) trouble.sendFailed(to, error, begunMs);
        if (signal.aborted || TOO_LARGE.includes(type) || isRefusal(error)) {
          for (const { reject } of batch) reject(refused(error, topic, signal.aborted));
          return;
        }
        if (LOST_TRACK.includes(type)) this.#replace(producer);
        failures += 1;
        await this.#wait(topic, error, failures);
      }
    }
  }

  async #wait(topic: string, error: unknown, failures: number): Promise<void> {
    const { clock, log } = this.#context;
    const cause = error instanceof Error ? error.message : String(error);
    if (!this.#away && failures > 1)
      log.warn({ topic, cause }, "publishing to Kafka fails; it is tried again until it is back");
    this.#away ||= failures > 1;
    if (failures > 1) this.#parts.trouble.noticed();
    const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures, 10));
    await clock.sleep(backoffMs, this.#parts.signal).catch(() => {});
    if (kafkaErrorType(error) === "UNKNOWN_TOPIC_OR_PARTITION") await this.#parts.prepare(topic).catch(() => {});
  }

  #back(): void {
    if (this.#away) this.#context.log.info("publishing to Kafka goes on");
    this.#away = false;
  }

  #ready(): Promise<Producer> {
    if (this.#producer) return this.#producer;
    const producer = this.#parts.kafka.producer({
      ...{ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false, metadataMaxAge: 30_000 },
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition ?? 0,
    });
    const ready = producer.connect().then(() => {
      this.#live = producer;
      return producer;
    });
    this.#producer = ready;
    ready.catch(() => {
      if (this.#producer === ready) this.#producer = undefined;
      void producer.disconnect().catch(() => {});
    });
    return ready;
  }

  #replace(producer: Producer | undefined): void {
    if (producer === undefined || this.#live !== producer) return; // another partition's send was quicker
    this.#context.log.info("a new producer goes on");
    this.#live = undefined;
    this.#producer = undefined;
    void producer.disconnect().catch(() => {});
  }
}

/** The oldest that fit into one batch; at least one. */
function takeBatch(line: Line): Waiting[] {
  let bytes = 0;
  let count = 0;
  for (const each of line.waiting) {
    if (count > 0 && bytes + each.bytes > BATCH_BYTES) break;
    bytes += each.bytes;
    count += 1;
  }
  line.bytes -= bytes;
  return line.waiting.splice(0, count);
}

function refused(error: unknown, topic: string, stopped: boolean): VigilaneError {
  if (stopped) return new VigilaneError("STOPPED", "the topics were stopped", { cause: error });
  const why = error instanceof Error ? error.message : String(error);
  return new VigilaneError("BROKER_REFUSED", `${topic}: ${why}`, { cause: error });
}
