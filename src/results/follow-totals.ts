/** Reads what the totals are made of and writes them, once a second. Any number of processes may: they write the same. */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import { KeyGroupEvent, type Totals } from "../events.ts";
import { loop } from "../lifecycle.ts";
import { AssessmentResult, Timings } from "../messages.ts";
import { KEYS } from "../names.ts";
import { placeInStream } from "../store.ts";
import { OUTCOME_COUNTS } from "./record-result.ts";
import { type Ended, MINUTE_MS, reckonTotals, type Shown } from "./totals.ts";

const EVERY_MS = 1_000;
const PAGE = 1_000;

/** Tasks that wait, and those that are taken, queued or in a call. */
export type CountTasks = () => Promise<{ waiting: number; moving: number; calling: number }>;

export async function followTotals(redis: Redis, countTasks: CountTasks, context: Context, signal: AbortSignal) {
  const totals = createTotalsReader(redis, countTasks);
  await loop(context, signal, "totals", async () => {
    await redis.hset(KEYS.totals, "json", JSON.stringify(await totals.read()));
    await context.clock.sleep(EVERY_MS, signal).catch(() => {});
  });
}

export function createTotalsReader(redis: Redis, countTasks: CountTasks): { read(): Promise<Totals> } {
  let ended: Ended[] = [];
  let shown: Shown[] = [];
  const places = { events: "", shown: "" };

  return {
    async read() {
      const [seconds, micros] = await redis.time();
      const nowMs = Number(seconds) * 1000 + Number(micros) / 1000;
      const sinceMs = nowMs - MINUTE_MS;
      const begin = `${Math.floor(sinceMs)}-0`;
      for (const entry of await readOn(redis, KEYS.events, places, "events", begin)) ended.push(...endedOf(entry));
      for (const entry of await readOn(redis, KEYS.shown, places, "shown", begin)) shown.push(...shownOf(entry));
      ended = ended.filter(({ atMs }) => atMs > sinceMs);
      shown = shown.filter(({ atMs }) => atMs > sinceMs);
      const [counts, groups, tasks] = await Promise.all([
        redis.hgetall(OUTCOME_COUNTS),
        redis.hvals(KEYS.keyGroups),
        countTasks(),
      ]);
      return reckonTotals({
        nowMs,
        counts: Object.fromEntries(Object.entries(counts).map(([outcome, count]) => [outcome, Number(count)])),
        ended,
        shown,
        waiting: tasks.waiting,
        inFlight: tasks.moving + tasks.calling,
        keyGroups: groups.flatMap((json) => readJson(KeyGroupEvent, json)),
      });
    },
  };
}

interface Entry {
  atMs: number;
  fields: Map<string, string>;
}

/** What was appended to the stream since the last time. */
async function readOn<K extends string>(
  redis: Redis,
  stream: string,
  places: Record<K, string>,
  which: K,
  begin: string,
) {
  const found: Entry[] = [];
  if (places[which] !== "") places[which] = await placeInStream(redis, stream, places[which]);
  for (;;) {
    const from = places[which] === "" ? begin : `(${places[which]}`;
    const page = (await redis.xrange(stream, from, "+", "COUNT", PAGE)) as [string, string[]][];
    for (const [id, flat] of page) {
      const fields = new Map<string, string>();
      for (let i = 0; i + 1 < flat.length; i += 2) fields.set(String(flat[i]), String(flat[i + 1]));
      found.push({ atMs: Number(id.split("-")[0]), fields });
      places[which] = id;
    }
    if (page.length < PAGE) return found;
  }
}

function endedOf({ atMs, fields }: Entry): Ended[] {
  if (fields.get("type") !== "outcome") return [];
  return readJson(AssessmentResult, fields.get("json")).map(({ outcome }) => ({ atMs, outcome }));
}

/** A retry by hand comes long after its capture and says nothing about the way of the data. */
function shownOf({ atMs, fields }: Entry): Shown[] {
  const judged = ["assessed", "reused"].includes(fields.get("outcome") ?? "") && fields.get("revision") === "1";
  if (!judged) return [];
  return readJson(ShownTimings, fields.get("json")).map(({ shownAt, capturedAt }) => ({
    atMs,
    endToEndMs: shownAt - capturedAt,
  }));
}

const ShownTimings = Timings.extend({ shownAt: Timings.shape.capturedAt });

function readJson<T>(schema: { safeParse(value: unknown): { success: boolean; data?: T } }, json = ""): T[] {
  try {
    const { data } = schema.safeParse(JSON.parse(json));
    return data === undefined ? [] : [data];
  } catch {
    return [];
  }
}
