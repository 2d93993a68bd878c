/**
 * What a producer keeps of what it published, to publish it again should the store have forgotten it: the calls that were
 * acknowledged within the last seconds before the newest acknowledgement. (A store that died did so after that one, so
 * however long it stays away, what it may have forgotten is still here.)
 */

/** One append: its number among this producer's, and what it appends. */
export interface PublishCall {
  readonly sequence: number;
  /** The topic's key. */
  readonly topic: string;
  readonly args: readonly (string | number | Buffer)[];
  readonly messages: number;
  readonly bytes: number;
}

/** An `appendfsync everysec` forgets up to 2 s. */
const KEPT_MS = 5_000;
const KEPT_MESSAGES = 10_000;
const KEPT_BYTES = 64 * 1024 * 1024;
/** Older than this nothing is worth publishing again. Half as long as the store remembers a producer's number. */
const STALE_MS = 12 * 3_600_000;

export class PublishedLately {
  #kept: { call: PublishCall; atMs: number }[] = [];
  #messages = 0;
  #bytes = 0;

  /** The store has acknowledged this call; `nowMs` monotonic, as below. Calls come in the order of their numbers. */
  keep(call: PublishCall, nowMs: number): void {
    this.#kept.push({ call, atMs: nowMs });
    this.#messages += call.messages;
    this.#bytes += call.bytes;
    let gone = 0;
    for (const { call: oldest, atMs } of this.#kept) {
      const tooMuch = this.#messages > KEPT_MESSAGES || this.#bytes > KEPT_BYTES;
      if (oldest === call || (atMs >= nowMs - KEPT_MS && !tooMuch)) break;
      this.#messages -= oldest.messages;
      this.#bytes -= oldest.bytes;
      gone += 1;
    }
    this.#kept.splice(0, gone);
  }

  /** Number of the newest call that is kept; 0: none is. */
  newest(nowMs: number): number {
    const newest = this.#kept.at(-1);
    if (newest === undefined || newest.atMs >= nowMs - STALE_MS) return newest?.call.sequence ?? 0;
    this.#kept = [];
    this.#messages = this.#bytes = 0;
    return 0;
  }

  /** Those that a store which knows this producer's calls up to `seen` has forgotten, in order. */
  after(seen: number): PublishCall[] {
    return this.#kept.flatMap(({ call }) => (call.sequence > seen ? [call] : []));
  }
}
