/**
 * Write back: the outbox, in order, to the results topic. The append and the outbox's advance are one step of the
 * transfer, so that no outcome is published twice or not at all, whoever dies when.
 */
import type { Context } from "../context.ts";
import type { Beside } from "../store.ts";
import { drainOutbox, type Entry, type OutboxParts, type Transfer } from "./outbox.ts";
import { OutboxFields, outcomeToResult } from "./outcome-to-result.ts";

export interface WriteBackParts extends OutboxParts {
  transfer: Transfer;
  resultsTopic: string;
  /** Where revisions go: the same, or one that older consumers, who must not see them, do not read. */
  revisionsTopic: string;
  /** Where the older pipeline writes its key `detection:<id>`: outcomes without a call wait for it, 500 ms at most. Absent: they do not. */
  olderRedis?: Beside | undefined;
  /** The store's clock. */
  storeNowMs: () => Promise<number>;
}

const OLDER_WAIT_MS = 500;

export async function writeBack(parts: WriteBackParts, context: Context, signal: AbortSignal): Promise<void> {
  const move = async (entries: Entry<OutboxFields>[]) => {
    const nowMs = await parts.storeNowMs();
    const due = parts.olderRedis ? await withoutHeldBack(entries, nowMs, parts.olderRedis) : entries;
    return publish(due, nowMs, parts);
  };
  await drainOutbox(parts, OutboxFields, "write back", move, context, signal);
}

async function publish(
  entries: Entry<OutboxFields>[],
  publishedAt: number,
  { transfer, resultsTopic, revisionsTopic }: WriteBackParts,
): Promise<number> {
  const isRevision = ({ fields }: Entry<OutboxFields>) => revisionsTopic !== resultsTopic && fields.revision > 1;
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

/** Without those that should wait a little for the older pipeline's own write (or, where its Redis is away, could). */
async function withoutHeldBack(entries: Entry<OutboxFields>[], now: number, older: Beside) {
  const early = entries.filter(({ fields }) => !fields.startedAt && now - fields.completedAt <= OLDER_WAIT_MS);
  if (early.length === 0) return entries;
  const keys = early.map(({ fields }) => `detection:${outcomeToResult(fields, now).requestId}`);
  const there = await older.ask((redis) => Promise.all(keys.map((key) => redis.exists(key))));
  const held = new Set(early.filter((_, i) => there?.[i] !== 1));
  return entries.filter((entry) => !held.has(entry));
}
