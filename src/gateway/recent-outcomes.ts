/**
 * The newest outcomes in memory: those that this gateway emits as it does, and the others' by following the tail of the
 * stream of events beside the consumer group. So every gateway knows all of them, and shows them while the store is away.
 */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import type { OutcomeEvent } from "../events.ts";
import { within } from "../lifecycle.ts";
import { AssessmentResult } from "../messages.ts";
import { KEYS } from "../names.ts";
import { placeInStream } from "../store.ts";
import { imagePathOf } from "./image-path.ts";

const KEPT = 2_000;
const PAGE = 500;
const CATCH_UP_MS = 1_000;

export interface RecentOutcomes {
  /** Newest first. */
  newest(limit: number, cameraId?: string): OutcomeEvent[];
  /** Takes one in; what is known already stays as it is, unless the task was ended anew. */
  add(outcome: OutcomeEvent): void;
  /** Reads what has been appended since; when the store does not answer in time, what is known stands. */
  catchUp(): Promise<void>;
}

export function createRecentOutcomes(redis: Redis, { clock, log }: Context): RecentOutcomes {
  /** By task id and revision, in the order of arrival. */
  const kept = new Map<string, OutcomeEvent>();
  let place: string | null = null;
  let reading: Promise<void> | undefined;

  function add(outcome: OutcomeEvent): void {
    const name = `${outcome.result.taskId}#${outcome.result.revision}`;
    const known = kept.get(name);
    if (known && endedAt(outcome) <= endedAt(known)) return;
    kept.delete(name); // a store that forgot this one's end has ended it anew: the later end is the one that stands
    kept.set(name, outcome);
    if (kept.size <= KEPT) return;
    for (const oldest of kept.keys()) {
      kept.delete(oldest);
      return;
    }
  }

  async function readOn(): Promise<void> {
    place = place === null ? await placeToBegin(redis) : await placeInStream(redis, KEYS.events, place);
    for (;;) {
      const entries = (await redis.xrange(KEYS.events, `(${place}`, "+", "COUNT", PAGE)) as [string, string[]][];
      for (const [id, fields] of entries) {
        const outcome = outcomeOf(id, fields);
        if (outcome) add(outcome);
        place = id;
      }
      if (entries.length < PAGE) return;
    }
  }

  return {
    add,
    newest(limit, cameraId) {
      const all = [...kept.values()];
      const asked = cameraId === undefined ? all : all.filter(({ result }) => String(result.cameraId) === cameraId);
      return asked.slice(-limit).reverse();
    },
    async catchUp() {
      if (redis.status !== "ready") return;
      reading ??= readOn().finally(() => {
        reading = undefined;
      });
      const asked = reading;
      await within(clock, CATCH_UP_MS, "reading the newest outcomes", () => asked).catch((error: unknown) => {
        log.debug({ err: error }, "the newest outcomes could not be read");
      });
    },
  };
}

const endedAt = ({ result }: OutcomeEvent) => result.metadata.timings.completedAt ?? 0;

/** Far enough back for KEPT events; the stream's very beginning when there are fewer. */
async function placeToBegin(redis: Redis): Promise<string> {
  const tail = (await redis.xrevrange(KEYS.events, "+", "-", "COUNT", KEPT * 2)) as [string, string[]][];
  const oldest = tail.at(-1)?.[0];
  if (oldest === undefined) return "0-0";
  const [ms = "0", sequence = "0"] = oldest.split("-");
  return Number(sequence) > 0 ? `${ms}-${Number(sequence) - 1}` : `${Math.max(0, Number(ms) - 1)}-999999999`;
}

function outcomeOf(id: string, fields: readonly string[]): OutcomeEvent | null {
  const entry = fieldsOf(fields);
  if (entry.type !== "outcome" || entry.json === undefined) return null;
  try {
    return outcomeEvent(AssessmentResult.parse(JSON.parse(entry.json)), Number(id.split("-")[0]));
  } catch {
    return null; // the feed has logged it
  }
}

export function outcomeEvent(result: AssessmentResult, shownAtMs: number): OutcomeEvent {
  return { result, imagePath: imagePathOf(result.imageUrl), shownAtMs };
}

/** A stream entry's flat list of names and values as an object. */
export function fieldsOf(fields: readonly string[]): Record<string, string> {
  const entry: Record<string, string> = {};
  for (let i = 0; i + 1 < fields.length; i += 2) entry[String(fields[i])] = String(fields[i + 1]);
  return entry;
}
