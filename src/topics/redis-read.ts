/** Reads ahead from all shards that a consumer owns, with one blocking XREAD; idle shards cost nothing. */
import type { Redis } from "ioredis";
import { entryToMessage } from "./redis-entries.ts";
import { scripts } from "./redis-scripts.ts";
import { streamKey, wakeKey } from "./redis-topic-keys.ts";
import type { ShardLine } from "./shard-line.ts";

/** How long one read blocks; well below the connection's socketTimeout. */
const BLOCK_MS = 5_000;
/** Messages of one read take about so much memory in all. */
const READ_BYTES = 8 * 1024 * 1024;

export interface ReadFrom {
  topic: string;
  topicKey: string;
  groupKey: string;
  consumer: string;
  commands: Redis;
  /** Blocks; never used for anything else. */
  reader: Redis;
}

export class ReadAhead {
  readonly #from: ReadFrom;
  readonly #lines: ReadonlyMap<number, ShardLine>;
  readonly #wakeKey: string;
  #wokenUntil = "0-0";
  /** Lines that the read under way covers; undefined: none is under way. */
  #covered: ReadonlySet<ShardLine> | undefined;
  /** Mean bytes of a message, an exponential average. */
  #messageBytes = 16 * 1024;

  constructor(from: ReadFrom, lines: ReadonlyMap<number, ShardLine>) {
    this.#from = from;
    this.#lines = lines;
    this.#wakeKey = wakeKey(from.groupKey, from.consumer);
  }

  /** One read into the lines; resolves when something came, when woken, or after 5 s. */
  async once(): Promise<{ shardsChanged: boolean }> {
    const { reader, topicKey } = this.#from;
    const wanted = [...this.#lines.values()].filter((line) => this.#hasRoom(line));
    const asked = wanted.map((line) => ({ line, from: line.readUntil, key: streamKey(topicKey, line.shard) }));
    const keys = [this.#wakeKey, ...asked.map(({ key }) => key)];
    const ids = [this.#wokenUntil, ...asked.map(({ from }) => from)];
    const args = ["COUNT", this.#count(this.#lines.size), "BLOCK", BLOCK_MS, "STREAMS", ...keys, ...ids];
    this.#covered = new Set(wanted);
    try {
      const reply = await reader.callBuffer("XREAD", ...args);
      return this.#take(reply, new Map(asked.map((each) => [each.key, each])));
    } finally {
      this.#covered = undefined;
    }
  }

  /** The store came back without its newest writes: the signals that it gives from now on may have smaller ids. */
  storeRolledBack(): void {
    this.#wokenUntil = "0-0";
  }

  /** Wakes the read under way where a line has room by now that it does not cover. */
  async refresh(): Promise<void> {
    const covered = this.#covered;
    if (covered === undefined) return;
    if ([...this.#lines.values()].every((line) => covered.has(line) || !this.#hasRoom(line))) return;
    this.#covered = undefined; // once is enough
    // Should this fail, the read ends by itself, a little later.
    await scripts.wake.run(this.#from.commands, [this.#from.groupKey], [this.#from.consumer]).catch(() => {});
  }

  #take(reply: unknown, asked: ReadonlyMap<string, { line: ShardLine; from: string }>): { shardsChanged: boolean } {
    let shardsChanged = false;
    for (const stream of Array.isArray(reply) ? (reply as [Buffer, unknown[]][]) : []) {
      const [key, entries] = [stream[0].toString(), stream[1]];
      if (key === this.#wakeKey) {
        for (const entry of entries as [Buffer, Buffer[]][]) {
          this.#wokenUntil = entry[0].toString();
          if (entry[1]?.[1]?.toString() === "shards") shardsChanged = true;
        }
        continue;
      }
      const { line, from } = asked.get(key) ?? {};
      // Taken away, or begun anew, while the read was under way.
      if (line === undefined || this.#lines.get(line.shard) !== line || line.readUntil !== from) continue;
      const messages = entries.map((entry) => entryToMessage(this.#from.topic, line.shard, entry));
      for (const { value } of messages) this.#messageBytes += (value.length + 200 - this.#messageBytes) / 16;
      line.ahead.push(...messages);
      line.readUntil = messages.at(-1)?.position ?? line.readUntil;
    }
    return { shardsChanged };
  }

  #count(lines: number): number {
    return Math.max(1, Math.min(500, Math.floor(READ_BYTES / (this.#messageBytes * Math.max(1, lines)))));
  }

  /**
   * A line is read on from half empty: what is read ahead stays bounded by one read and a half, and a line whose few
   * messages are out is covered by the read under way, which then need not be ended for it.
   */
  #hasRoom(line: ShardLine): boolean {
    return line.ahead.length < Math.max(1, this.#count(this.#lines.size) / 2);
  }
}
