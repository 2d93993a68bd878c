/**
 * Write back: the outbox, in order, to the results topic. The append and the outbox's advance are one step of the
 * transfer, so that no outcome is published twice or not at all, whoever dies when; one bridge at a time does it only to
 * save the others the work.
 */
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Context } from "../context.ts";
import { loop } from "../lifecycle.ts";
import { KEYS } from "../names.ts";
import type { OutgoingMessage } from "../topics/topic-log.ts";
import { OutboxFields, outcomeToResult } from "./outcome-to-result.ts";

/** Appends and advances in one step; entries that are gone from the outbox are skipped. Resolves with how many moved. */
export interface Transfer {
  transfer(topic: string, entries: readonly { outboxId: string; message: OutgoingMessage }[]): Promise<number>;
}

export interface WriteBackParts {
  /** A connection of its own: it waits in blocking reads, and is disconnected when `signal` aborts. */
  redis: Redis;
  /** For everything that must not wait behind the blocking read. */
  commands: Redis;
  transfer: Transfer;
  resultsTopic: string;
  /** Where revisions go; with older consumers they must not see them. */
  revisionsTopic: string;
  /** Outcomes without a call wait for the older pipeline's key `detection:<id>`, 500 ms at most. */
  olderConsumers: boolean;
  /** This bridge, for the lease of the work. */
  instance: string;
  /** The store's clock. */
  storeNowMs: () => Promise<number>;
}

const OWNER_KEY = "{vl}:outbox-owner";
const OWNER_MS = 3_000;
const MOST = 200;
const OLDER_WAIT_MS = 500;

/** What XREAD says of one stream: its new entries. */
const Outbox = z
  .array(z.tuple([z.string(), z.array(z.tuple([z.string(), z.array(z.string())]))]))
  .nullable()
  .transform((streams) => streams?.[0]?.[1] ?? []);

interface Entry {
  outboxId: string;
  fields: OutboxFields;
}

export async function writeBack(parts: WriteBackParts, context: Context, signal: AbortSignal): Promise<void> {
  const { clock, log } = context;
  let ownedAtMs = Number.NEGATIVE_INFINITY;
  // A blocking read knows no signal: its connection is let go.
  signal.addEventListener("abort", () => parts.redis.disconnect(), { once: true });
  await loop(context, signal, "write back", async () => {
    // Only to save others the work: the transfer itself is safe with any number of writers.
    if (clock.monotonicMs() - ownedAtMs > OWNER_MS / 3) {
      if (!(await own(parts))) {
        await clock.sleep(OWNER_MS / 3, signal);
        return;
      }
      ownedAtMs = clock.monotonicMs();
    }
    const entries = await read(parts, log);
    if (entries.length === 0) return;
    const nowMs = await parts.storeNowMs();
    const due = parts.olderConsumers ? await withoutHeldBack(entries, nowMs, parts) : entries;
    if (due.length === 0) return clock.sleep(25, signal);
    try {
      if ((await publish(due, nowMs, parts)) === 0) await clock.sleep(25, signal);
    } catch (error) {
      ownedAtMs = Number.NEGATIVE_INFINITY; // perhaps another writer is at it by now: asked before the next try
      throw error;
    }
  });
  await parts.commands
    .eval(
      "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) end",
      1,
      OWNER_KEY,
      parts.instance,
    )
    .catch(() => {});
}

async function own({ commands, instance }: WriteBackParts): Promise<boolean> {
  const renew =
    "if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) end return redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2],'NX') and 1 or 0";
  return Number(await commands.eval(renew, 1, OWNER_KEY, instance, OWNER_MS)) === 1;
}

/** The outbox's oldest entries; waits for the first one, a third of the lease at most. */
async function read({ redis, commands }: WriteBackParts, log: Context["log"]): Promise<Entry[]> {
  const streams = await redis.xread("COUNT", MOST, "BLOCK", OWNER_MS / 3, "STREAMS", KEYS.outbox, "0");
  const entries: Entry[] = [];
  for (const [outboxId, flat] of Outbox.parse(streams)) {
    const fields = OutboxFields.safeParse(Object.fromEntries(pairs(flat)));
    if (fields.success) entries.push({ outboxId, fields: fields.data });
    else {
      // Only a fault of ours can bring this about: kept aside, so that those behind it still go out.
      log.error(
        { outboxId, issues: fields.error.issues },
        "an entry of the outbox cannot be read; it is kept in {vl}:outbox-unreadable",
      );
      await commands
        .multi()
        .xadd("{vl}:outbox-unreadable", "*", ...flat)
        .xdel(KEYS.outbox, outboxId)
        .exec();
    }
  }
  return entries;
}

async function publish(
  entries: Entry[],
  publishedAt: number,
  { transfer, resultsTopic, revisionsTopic, olderConsumers }: WriteBackParts,
): Promise<number> {
  const isRevision = ({ fields }: Entry) => olderConsumers && fields.revision > 1;
  let moved = 0;
  for (const [topic, some] of [
    [resultsTopic, entries.filter((entry) => !isRevision(entry))],
    [revisionsTopic, entries.filter(isRevision)],
  ] as const) {
    if (some.length === 0) continue;
    moved += await transfer.transfer(
      topic,
      some.map(({ outboxId, fields }) => {
        const result = outcomeToResult(fields, publishedAt);
        return {
          outboxId,
          message: {
            key: String(result.cameraId),
            value: Buffer.from(JSON.stringify(result)),
            headers: { schema: "assessment-result/1" },
          },
        };
      }),
    );
  }
  return moved;
}

/** Without those that should wait a little for the older pipeline's own write. */
async function withoutHeldBack(entries: Entry[], now: number, { commands }: WriteBackParts): Promise<Entry[]> {
  const held = await Promise.all(
    entries.map(async ({ fields }) => {
      if (fields.startedAt || now - fields.completedAt > OLDER_WAIT_MS) return false;
      const requestId = /^(.*)_group[^_]*(?:_\d+)?$/.exec(fields.id)?.[1] ?? fields.id;
      return (await commands.exists(`detection:${requestId}`)) === 0;
    }),
  );
  return entries.filter((_, i) => !held[i]);
}

function pairs(flat: string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] ?? "", flat[2 * i + 1] ?? ""]);
}
