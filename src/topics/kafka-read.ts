/**
 * Reads ahead into lines: one fetch at a time from each leader, covering all of its lines that have room. Who leads is
 * asked anew after whatever went wrong, and for each fetch, so that nobody waits for a leader that is gone.
 */
import type { Context } from "../context.ts";
import { type KafkaCluster, kafkaErrorType } from "./kafka-client.ts";
import type { KafkaLine } from "./kafka-line.ts";
import { type FetchedPartition, readableOf, recordToMessage } from "./kafka-records.ts";

/** How long a fetch waits for messages; where a line had no room, it looks again soon. */
const WAIT_MS = 250;
const CROWDED_WAIT_MS = 10;
const FETCH_BYTES = 8 * 1024 * 1024;
const PARTITION_BYTES = 1024 * 1024;
/** A line is read on while it has fewer messages, and fewer bytes, ahead than this. */
const AHEAD_MESSAGES = 1_000;
const AHEAD_BYTES = 4 * 1024 * 1024;
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 1_000;

const READ_COMMITTED = 1;

export interface ReadParts {
  topic: string;
  cluster: KafkaCluster;
  /** Lines come and go; whoever awaited a fetch looks again whether its line is still the one here. */
  lines: ReadonlyMap<number, KafkaLine>;
  /** Something came, or a line was moved. */
  news: () => void;
  signal: AbortSignal;
}

export class KafkaReader {
  readonly #parts: ReadParts;
  readonly #context: Context;
  /** Leaders with a fetch under way. */
  readonly #busy = new Set<string>();
  #failures = 0;
  #recovering: Promise<void> | undefined;

  constructor(parts: ReadParts, context: Context) {
    this.#parts = parts;
    this.#context = context;
  }

  /** Begins the fetches that can begin. To be called when lines came, or have room again. */
  pump(): void {
    const { cluster, lines, signal } = this.#parts;
    if (signal.aborted || this.#recovering || lines.size === 0) return;
    try {
      for (const [leader, shards] of cluster.leaders([...lines.keys()])) {
        const wanted = shards.flatMap((shard) => lines.get(shard) ?? []).filter(hasRoom);
        if (wanted.length === 0 || this.#busy.has(leader)) continue;
        this.#busy.add(leader);
        void this.#fetch(leader, wanted, wanted.length < shards.length);
      }
    } catch (error) {
      this.#recover(error); // the leaders are not known
    }
  }

  async #fetch(leader: string, wanted: readonly KafkaLine[], crowded: boolean): Promise<void> {
    const { topic, cluster, signal } = this.#parts;
    const from = new Map(wanted.map((line) => [line, line.nextOffset]));
    try {
      const partitions = wanted.map(({ shard, nextOffset }) => ({
        ...{ partition: shard, fetchOffset: String(nextOffset), maxBytes: PARTITION_BYTES },
      }));
      const broker = await cluster.broker(leader);
      const answer = await broker.fetch({
        ...{ isolationLevel: READ_COMMITTED, maxWaitTime: crowded ? CROWDED_WAIT_MS : WAIT_MS, minBytes: 1 },
        ...{ maxBytes: FETCH_BYTES, topics: [{ topic, partitions }] },
      });
      this.#failures = 0;
      const fetched = (answer as { responses: { partitions: FetchedPartition[] }[] }).responses;
      for (const part of fetched.flatMap((each) => each.partitions)) this.#take(part, from);
    } catch (error) {
      if (!signal.aborted) await this.#failed(error);
    } finally {
      this.#busy.delete(leader);
      if (!signal.aborted) this.pump();
    }
  }

  #take(part: FetchedPartition, from: ReadonlyMap<KafkaLine, bigint>): void {
    const { topic, lines, news } = this.#parts;
    const line = lines.get(part.partition);
    // Taken away, begun anew or moved while the fetch was under way.
    if (line === undefined || from.get(line) !== line.nextOffset) return;
    line.answeredAtMs = this.#context.clock.monotonicMs();
    const { records, next } = readableOf(part, line.nextOffset);
    if (next === line.nextOffset) return;
    line.nextOffset = next;
    line.readUntil = String(next - 1n);
    line.ahead.push(...records.map((record) => recordToMessage(topic, line.shard, record)));
    news();
  }

  async #failed(error: unknown): Promise<void> {
    if (kafkaErrorType(error) === "OFFSET_OUT_OF_RANGE") {
      await this.#moveInto().catch((inner: unknown) => this.#recover(inner));
      return;
    }
    this.#recover(error);
    await this.#recovering;
  }

  /** Lines that stand outside of the log go to its nearer end. */
  async #moveInto(): Promise<void> {
    const { cluster, lines, topic, news } = this.#parts;
    const asked = [...lines.values()].map((line) => ({ line, at: line.nextOffset }));
    const shards = asked.map(({ line }) => line.shard);
    const [first, next] = [await cluster.offsets(shards, "first"), await cluster.offsets(shards, "next")];
    for (const { line, at } of asked) {
      if (line.nextOffset !== at) continue;
      const [low, high] = [first.get(line.shard) ?? at, next.get(line.shard) ?? at];
      if (at >= low && at <= high) continue;
      const to = at < low ? low : high;
      const { shard } = line;
      this.#context.log.warn(
        { topic, shard, from: String(at), to: String(to) },
        "the log does not reach there any more",
      );
      if (to > at) line.marks = { ...line.marks, lost: line.marks.lost + Number(to - at) };
      line.nextOffset = to;
      line.readUntil = String(to - 1n);
    }
    news();
  }

  #recover(error: unknown): void {
    const { cluster, signal, topic } = this.#parts;
    const { clock, log } = this.#context;
    this.#failures += 1;
    const what = { topic, failures: this.#failures, cause: error instanceof Error ? error.message : String(error) };
    log[this.#failures === 3 ? "warn" : "debug"](what, "reading from Kafka failed, will be tried again");
    this.#recovering ??= (async () => {
      const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(this.#failures, 10));
      await clock.sleep(backoffMs, signal).catch(() => {});
      await cluster.recover(error).catch(() => {});
      this.#recovering = undefined;
      if (!signal.aborted) this.pump();
    })();
  }
}

function hasRoom(line: KafkaLine): boolean {
  if (line.ahead.length >= AHEAD_MESSAGES) return false;
  let bytes = 0;
  for (const { value } of line.ahead) bytes += value.length;
  return bytes < AHEAD_BYTES;
}
