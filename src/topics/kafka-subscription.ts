/**
 * A consumer of the Kafka topics. Three things go on side by side: the membership is kept (join, heartbeats), messages are
 * read ahead from all owned shards (kafka-read.ts), and batches go to whoever iterates. So a slow batch holds up neither
 * heartbeats nor other shards.
 *
 * What is handed out is noted before it goes, with the committed offset: so the next owner knows what may have ended this
 * process. Whoever asks for the next batch before the last one's end gets it by one note of both. Before the group shares anew,
 * what is out is waited for, so that nobody gets it twice.
 */
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { within } from "../lifecycle.ts";
import { Bell } from "./bell.ts";
import { KafkaBatch } from "./kafka-batch.ts";
import { isRefusal, type KafkaCluster } from "./kafka-client.ts";
import { KafkaCommits } from "./kafka-commits.ts";
import type { KafkaLine } from "./kafka-line.ts";
import { acknowledge, freshMarks, giveBack, handOut } from "./kafka-marks.ts";
import { type KafkaMemberOf, KafkaMembership } from "./kafka-membership.ts";
import { KafkaReader } from "./kafka-read.ts";
import type { StoredMessage } from "./kafka-records.ts";
import type { KafkaTrouble } from "./kafka-trouble.ts";
import { buryPoison, POISON_STRIKES } from "./poison.ts";
import { isSuspect, msUntilDue, nextLine, takeBatch, withDeliveries } from "./shard-line.ts";
import type { Batch, OutgoingMessage, SubscribeOptions, Subscription } from "./topic-log.ts";

const DEFAULT_MAX_MESSAGES = 200;
const RETRY_MS = 1_000;
/** Leaving the group, which ends a batch's hand-out as well; then disconnecting. */
const LEAVE_MS = 700;
const DISCONNECT_MS = 300;
/** How long a batch that is out may hold up the group's sharing anew; a longer one may be handed out twice. */
const DRAIN_MS = 5_000;
/** How often it is looked whether the topic has grown. */
const GROWN_EVERY_MS = 5_000;
/** A shard whose fetches no broker has answered for so long, though brokers can be reached: the client is stuck. */
const STUCK_MS = 30_000;

export interface KafkaSubscriptionParts extends KafkaMemberOf {
  options: SubscribeOptions;
  /** Of its own; the subscription closes it, and then hangs up. */
  cluster: KafkaCluster;
  hangUp: () => void;
  /** Creates the topic where it is missing. */
  prepare: () => Promise<unknown>;
  bury: (letter: OutgoingMessage) => Promise<void>;
  /** Hears when the group cannot be reached again and again, or does not answer. */
  trouble: Pick<KafkaTrouble, "noticed" | "watch">;
  /** What cannot be mended here: rights that are missing, a client that is stuck. */
  leave: (error: unknown) => void;
}

export class KafkaSubscription implements Subscription {
  readonly #parts: KafkaSubscriptionParts;
  readonly #context: Context;
  readonly #membership: KafkaMembership;
  readonly #reader: KafkaReader;
  readonly #commits: KafkaCommits;
  readonly #onClosed: () => void;
  readonly #abort = new AbortController();
  /** Something may be handed out now, or the end has come. */
  readonly #news = new Bell();
  /** Something that was out has ended, or the end has come. */
  readonly #ended = new Bell();
  #working: Promise<unknown> | undefined;
  #handingOut: Promise<unknown> | undefined;
  #closed: Promise<void> | undefined;
  #connected = false;
  /** The group could not be reached at the last try. */
  #away = false;
  #paused = false;
  /** The group shares anew: nothing more is handed out. */
  #sharing = false;
  #lookedMs = 0;
  /** The last heartbeat that was answered well, and the first one of those without a gap; monotonic ms. */
  #wellMs = Number.NEGATIVE_INFINITY;
  #wellSinceMs = 0;

  /** `closed` is called once, when nothing is held any more. */
  constructor(parts: KafkaSubscriptionParts, context: Context, closed: () => void) {
    this.#parts = parts;
    this.#context = context;
    this.#onClosed = closed;
    const { cluster, topic } = parts;
    const { signal } = this.#abort;
    this.#membership = new KafkaMembership(cluster, parts, context);
    this.#commits = new KafkaCommits(this.#membership, cluster, context, signal);
    const news = () => this.#news.ring();
    this.#reader = new KafkaReader({ topic, cluster, lines: this.#membership.lines, news, signal }, context);
  }

  async *batches(): AsyncGenerator<Batch> {
    if (this.#working) throw new Error("a subscription's batches can be iterated once");
    this.#working = this.#keep();
    try {
      while (!this.#abort.signal.aborted) {
        const { clock } = this.#context;
        const line = this.#paused || this.#sharing ? undefined : nextLine(this.#lines(), clock.monotonicMs());
        if (line === undefined) {
          await this.#news.wait(clock, msUntilDue(this.#lines(), clock.monotonicMs()));
          continue;
        }
        const handingOut = this.#handOut(line as KafkaLine);
        this.#handingOut = handingOut;
        const batch = await handingOut;
        if (batch) yield batch;
      }
    } finally {
      await this.close();
    }
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#news.ring();
  }

  /** The store came back without its newest writes: what was read before it went may have no effects there any more. */
  storeForgot(): void {
    this.#membership.lines.clear();
    this.#ended.ring();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #lines(): KafkaLine[] {
    return [...this.#membership.lines.values()];
  }

  /** The membership, until the end. */
  async #keep(): Promise<void> {
    const { signal } = this.#abort;
    const { clock, log } = this.#context;
    const { topic, group, sessionMs, cluster, leave, trouble } = this.#parts;
    for (let failures = 0; !signal.aborted; ) {
      try {
        await trouble.watch(this.#tick());
        failures = 0;
        this.#away = false;
        await clock.sleep(this.#sharing ? 0 : sessionMs / 6, signal).catch(() => {});
      } catch (error) {
        if (signal.aborted) return;
        if (isRefusal(error)) leave(error);
        failures += 1;
        this.#away = true;
        if (failures > 1) trouble.noticed();
        const cause = error instanceof Error ? error.message : String(error);
        log[failures === 3 ? "warn" : "debug"](
          { topic, group, failures, cause },
          "no place in the group at present, will be tried again",
        );
        await clock.sleep(Math.min(1_000, 50 * 2 ** Math.min(failures, 10)), signal).catch(() => {});
        await cluster.recover(error).catch(() => {});
      }
    }
  }

  async #tick(): Promise<void> {
    const { cluster, prepare } = this.#parts;
    if (!this.#connected) {
      await prepare();
      await cluster.connect();
      this.#connected = true;
    }
    if (!this.#membership.joined || this.#sharing) return this.#join();
    if ((await this.#membership.heartbeat()) === "rejoin" || (await this.#grown())) {
      this.#sharing = true;
      return;
    }
    if (await this.#begun()) this.#handOn();
    await this.#skip();
    this.#watch();
  }

  /** Whether shards that had no line have one now. */
  async #begun(): Promise<boolean> {
    const before = this.#membership.lines.size;
    await this.#membership.begin();
    return this.#membership.lines.size > before;
  }

  #handOn(): void {
    this.#reader.pump();
    this.#news.ring();
  }

  async #join(): Promise<void> {
    this.#sharing = true;
    await this.#drain();
    if (this.#abort.signal.aborted) return;
    await this.#membership.join();
    this.#sharing = false;
    const shards = [...this.#membership.lines.keys()];
    const { topic, group, consumer } = this.#parts;
    this.#context.log.debug({ topic, group, consumer, shards }, "has a place in the group");
    this.#handOn();
  }

  /** Waits for what is out, with heartbeats meanwhile, since others wait for this one. */
  async #drain(): Promise<void> {
    const { clock } = this.#context;
    const since = clock.monotonicMs();
    while (!this.#abort.signal.aborted && this.#lines().some((line) => line.out !== "nothing")) {
      if (clock.monotonicMs() - since > DRAIN_MS) return;
      await this.#ended.wait(clock, this.#parts.sessionMs / 6);
      if (this.#membership.joined) await this.#membership.heartbeat();
    }
  }

  async #grown(): Promise<boolean> {
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs - this.#lookedMs < GROWN_EVERY_MS) return false;
    this.#lookedMs = nowMs;
    return this.#membership.hasGrown();
  }

  /** Where nothing is left but what no reader sees (ends of transactions), the position goes behind it, so that the lag is 0. */
  async #skip(): Promise<void> {
    const idle = this.#lines().filter(
      (line) => line.out === "nothing" && line.ahead.length === 0 && line.nextOffset > line.marks.position,
    );
    await Promise.all(idle.map((line) => this.#skipTo(line, line.nextOffset)));
  }

  /** In the store too, or its return in another run would look as if something had been forgotten. */
  async #skipTo(line: KafkaLine, position: bigint): Promise<void> {
    const { places } = this.#parts;
    const { marks } = line;
    const isNoted = await places?.noteSoon(this.#membership.groupId, line.run, new Map([[line.shard, position]]));
    // Later, where the store is away; not at all, where something was handed out meanwhile.
    if (isNoted === false || line.marks !== marks || line.out !== "nothing") return;
    await this.#commits.note(line, { ...freshMarks(position), lost: marks.lost }).catch(() => {});
  }

  /** The cluster answers heartbeats, and yet no fetch of a shard is answered: nothing here can mend that. */
  #watch(): void {
    const nowMs = this.#context.clock.monotonicMs();
    // After an absence, the brokers' or our own, everything gets its time anew.
    if (nowMs - this.#wellMs > this.#parts.sessionMs) this.#wellSinceMs = nowMs;
    this.#wellMs = nowMs;
    const isStuck = (line: KafkaLine) => nowMs - Math.max(line.answeredAtMs, this.#wellSinceMs) > STUCK_MS;
    const stuck = this.#lines().find((line) => line.ahead.length === 0 && isStuck(line));
    if (!stuck) return;
    this.#parts.leave(
      new Error(`shard ${stuck.shard} of ${this.#parts.topic} was not answered for ${STUCK_MS / 1000} s`),
    );
  }

  /** Undefined: nothing to give after all (another owner, poison, or the end). */
  async #handOut(line: KafkaLine): Promise<Batch | undefined> {
    const { lines } = this.#membership;
    const suspect = isSuspect(line);
    const stored = takeBatch(line, this.#parts.options.maxMessages ?? DEFAULT_MAX_MESSAGES);
    const last = BigInt(stored.at(-1)?.position ?? -1);
    line.out = suspect ? "suspect" : "batch";
    lines.delete(line.shard); // to the end of the queue for the next turn
    lines.set(line.shard, line);
    this.#reader.pump();
    try {
      await this.#commits.note(line, handOut(line.marks, last, suspect));
    } catch (error) {
      this.#drop(line, error);
      return undefined;
    }
    const strikes = suspect ? line.marks.strikes : 0;
    const messages = stored.map((message) => withDeliveries(message, line, suspect ? 2 + strikes : 1));
    const batch = new KafkaBatch(line.shard, messages, {
      end: (how, afterMs) => this.#end(line, stored, suspect, how, afterMs),
      bury: (letter) => this.#parts.bury(letter),
    });
    // The pause or the end came while this was noted.
    if (this.#paused || this.#abort.signal.aborted) {
      await batch.giveBack().catch((error: unknown) => this.#drop(line, error));
      return undefined;
    }
    if (strikes >= POISON_STRIKES) {
      await buryPoison(batch, strikes, this.#parts.options, RETRY_MS, this.#context);
      return undefined;
    }
    return batch;
  }

  async #end(line: KafkaLine, stored: StoredMessage[], suspect: boolean, how: "done" | "back", afterMs: number) {
    const last = BigInt(stored.at(-1)?.position ?? -1);
    const marks = how === "done" ? acknowledge(line.marks, last) : giveBack(line.marks, last, suspect);
    if (how === "done") await this.#noteEffects(line, marks.position);
    const mayBeFollowed = how === "done" && !suspect;
    if (mayBeFollowed) {
      line.out = "ending";
      this.#news.ring();
    }
    try {
      await this.#commits.note(line, marks);
    } catch (error) {
      if (line.out === "ending") line.out = "batch";
      throw error;
    }
    if (mayBeFollowed && line.out !== "ending") return; // the next batch went with the same note
    line.out = "nothing";
    if (how === "back") {
      line.ahead.unshift(...stored);
      line.returnedUntil = String(last);
      line.returns += 1;
      line.notBeforeMs = this.#context.clock.monotonicMs() + afterMs;
    }
    this.#news.ring();
    this.#ended.ring();
  }

  /** In the store first, where they are. Rejects with OWNERSHIP_LOST when that came back without some of them: they come again. */
  async #noteEffects(line: KafkaLine, position: bigint): Promise<void> {
    const { places } = this.#parts;
    if (
      places === undefined ||
      (await places.note(this.#membership.groupId, line.run, new Map([[line.shard, position]])))
    )
      return;
    const error = new VigilaneError("OWNERSHIP_LOST", `the store has restarted since shard ${line.shard} was begun`);
    this.#drop(line, error);
    throw error;
  }

  #drop(line: KafkaLine, error: unknown): void {
    const { lines } = this.#membership;
    if (isRefusal(error)) this.#parts.leave(error);
    if (lines.get(line.shard) === line) lines.delete(line.shard);
    this.#ended.ring();
  }

  async #close(): Promise<void> {
    this.#abort.abort();
    this.#news.ring();
    this.#ended.ring();
    const { clock, log } = this.#context;
    // Without the brokers nothing of this comes to an end by itself, and the session simply runs out.
    if (this.#away) this.#parts.hangUp();
    const left = Promise.all([this.#working, this.#handingOut])
      .then(() => this.#membership.leave())
      .catch((err: unknown) => log.debug({ err }, "could not leave the group cleanly"));
    await within(clock, LEAVE_MS, "leaving the group", () => left).catch(() => this.#parts.hangUp());
    this.#membership.lines.clear();
    await within(clock, DISCONNECT_MS, "disconnecting", () => this.#parts.cluster.close()).catch(() => {});
    this.#parts.hangUp();
    this.#onClosed();
  }
}
