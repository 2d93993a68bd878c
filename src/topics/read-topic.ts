/** Reads a part of a topic that has an end, without any group: from places up to other places. */
import type { Context } from "../context.ts";
import { abortOf } from "../lifecycle.ts";
import { comparePositions, type Places, type TopicLog, type TopicMessage } from "./topic-log.ts";
import type { TopicTools } from "./topic-tools.ts";

/** After so long without a message it is asked whether what was to come has been deleted meanwhile. */
const SILENCE_MS = 2_000;

/** Messages after `start` and up to `ends`, inclusive; in the order of their shard. Ends early when `signal` aborts. */
export async function* readBetween(
  { log, tools }: { log: Pick<TopicLog, "tail">; tools: Pick<TopicTools, "placesAt"> },
  topic: string,
  start: Places,
  ends: Places,
  { clock }: Pick<Context, "clock">,
  signal: AbortSignal,
): AsyncGenerator<TopicMessage> {
  const open = new Set<number>();
  for (const [shard, end] of ends.entries()) if (comparePositions(start[shard] ?? "-1", end) < 0) open.add(shard);
  if (open.size === 0) return;
  const done = new AbortController();
  const either = AbortSignal.any([signal, done.signal]);
  const aborted = abortOf(signal).then(() => "silence" as const);
  const messages = log.tail(topic, start, either)[Symbol.asyncIterator]();
  try {
    let next = messages.next();
    while (open.size > 0 && !signal.aborted) {
      const waited = new AbortController();
      const silence = clock.sleep(SILENCE_MS, waited.signal).then(
        () => "silence" as const,
        () => "silence" as const,
      );
      const came = await Promise.race([next, silence, aborted]);
      waited.abort();
      if (came === "silence") {
        const firsts = await tools.placesAt(topic, "earliest");
        for (const shard of open) if (isBehind(firsts[shard], ends[shard])) open.delete(shard);
        continue;
      }
      if (came.done) return;
      next = messages.next();
      next.catch(() => {});
      const { shard, position } = came.value;
      if (open.has(shard)) {
        const end = ends[shard] ?? position;
        if (comparePositions(position, end) >= 0) open.delete(shard);
        if (comparePositions(position, end) <= 0) yield came.value;
      }
    }
  } finally {
    done.abort();
  }
}

const isBehind = (first: string | undefined, end: string | undefined) =>
  first !== undefined && end !== undefined && comparePositions(first, end) >= 0;
