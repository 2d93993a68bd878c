/**
 * Moves the entries of an outbox, a stream in the store, in their order. One bridge at a time does it, only to save the
 * others the work: what moves them (a transfer) is safe with any number of writers.
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { loop } from "../lifecycle.ts";
import type { OutgoingMessage } from "../topics/topic-log.ts";

/** Appends and advances in one step; entries that are gone from the outbox are skipped. Resolves with how many moved. */
export interface Transfer {
  transfer(topic: string, entries: readonly { outboxId: string; message: OutgoingMessage }[]): Promise<number>;
}

export interface Entry<Fields> {
  outboxId: string;
  fields: Fields;
}

export interface OutboxParts {
  /** A connection of its own: it waits in blocking reads, and is disconnected when the work's signal aborts. */
  redis: Redis;
  /** For everything that must not wait behind the blocking read. */
  commands: Redis;
  /** The stream. Its owner is kept in `<outboxKey>-owner`, what cannot be read in `<outboxKey>-unreadable`. */
  outboxKey: string;
  /** This bridge, for the lease of the work. */
  instance: string;
}

const OWNER_MS = 3_000;
const MOST = 200;
/** Nothing could be moved (all are held back, or another writer is at it). */
const REST_MS = 25;

/** What XREAD says of one stream: its new entries. */
const Streams = z
  .array(z.tuple([z.string(), z.array(z.tuple([z.string(), z.array(z.string())]))]))
  .nullable()
  .transform((streams) => streams?.[0]?.[1] ?? []);

/** `move`: of the oldest entries as many as go now, from the first on or not; resolves with how many went. */
export async function drainOutbox<Fields>(
  parts: OutboxParts,
  schema: z.ZodType<Fields>,
  what: string,
  move: (entries: Entry<Fields>[]) => Promise<number>,
  context: Context,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log } = context;
  let ownedAtMs = Number.NEGATIVE_INFINITY;
  // A blocking read knows no signal: its connection is let go.
  signal.addEventListener("abort", () => parts.redis.disconnect(), { once: true });
  await loop(context, signal, what, async () => {
    if (clock.monotonicMs() - ownedAtMs > OWNER_MS / 3) {
      if (!(await own(parts))) {
        await clock.sleep(OWNER_MS / 3, signal);
        return;
      }
      ownedAtMs = clock.monotonicMs();
    }
    const entries = await read(parts, schema, log);
    if (entries.length === 0) return;
    try {
      if ((await move(entries)) === 0) await clock.sleep(REST_MS, signal);
    } catch (error) {
      ownedAtMs = Number.NEGATIVE_INFINITY; // perhaps another writer is at it by now: asked before the next try
      throw error;
    }
  });
  const letGo = "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) end";
  await parts.commands.eval(letGo, 1, ownerKey(parts), parts.instance).catch(() => {});
}

const ownerKey = ({ outboxKey }: OutboxParts) => `${outboxKey}-owner`;

async function own(parts: OutboxParts): Promise<boolean> {
  const renew =
    "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) end return redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2],'NX') and 1 or 0";
  return Number(await parts.commands.eval(renew, 1, ownerKey(parts), parts.instance, OWNER_MS)) === 1;
}

/** The outbox's oldest entries; waits for the first one, a third of the lease at most. */
async function read<Fields>(
  { redis, commands, outboxKey }: OutboxParts,
  schema: z.ZodType<Fields>,
  log: Context["log"],
): Promise<Entry<Fields>[]> {
  const streams = await redis.xread("COUNT", MOST, "BLOCK", OWNER_MS / 3, "STREAMS", outboxKey, "0");
  const entries: Entry<Fields>[] = [];
  for (const [outboxId, flat] of Streams.parse(streams)) {
    const fields = schema.safeParse(Object.fromEntries(pairs(flat)));
    if (fields.success) entries.push({ outboxId, fields: fields.data });
    else {
      // Only a fault of ours can bring this about: kept aside, so that those behind it still go out.
      const aside = `${outboxKey}-unreadable`;
      log.error(
        { outboxId, issues: fields.error.issues },
        `an entry of the outbox cannot be read; it is kept in ${aside}`,
      );
      await commands
        .multi()
        .xadd(aside, "*", ...flat)
        .xdel(outboxKey, outboxId)
        .exec();
    }
  }
  return entries;
}

function pairs(flat: string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] ?? "", flat[2 * i + 1] ?? ""]);
}
