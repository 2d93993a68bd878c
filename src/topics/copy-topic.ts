/** Copies what a topic has now to another one: keys, headers and values as they are, in the order of each shard. */
import type { Context } from "../context.ts";
import { contentOf } from "./foreign-record.ts";
import { readBetween } from "./read-topic.ts";
import type { OutgoingMessage, Places, TopicLog } from "./topic-log.ts";
import type { TopicTools } from "./topic-tools.ts";

/** One publish holds at most so much. */
const BATCH_MESSAGES = 500;
const BATCH_BYTES = 4 * 1024 * 1024;

export interface Copied {
  messages: number;
  bytes: number;
  /** Up to where all is copied, by shard: a copy that broke off goes on from here. */
  places: Places;
}

/**
 * `start` and `ends` are places of `from`. `progress` is called after each batch that the other topic has taken. A copy
 * that was killed between the two copies at most that batch twice. Appending times are the copy's own.
 */
export async function copyTopic(
  { log, tools }: { log: Pick<TopicLog, "tail" | "publish">; tools: Pick<TopicTools, "placesAt"> },
  { from, to, start, ends }: { from: string; to: string; start: Places; ends: Places },
  context: Pick<Context, "clock">,
  signal: AbortSignal,
  progress: (copied: Copied) => void,
): Promise<Copied> {
  const copied: { messages: number; bytes: number; places: string[] } = { messages: 0, bytes: 0, places: [...start] };
  const reached = [...start];
  let batch: OutgoingMessage[] = [];
  let bytes = 0;
  const publish = async () => {
    if (batch.length === 0) return;
    await log.publish(to, batch);
    copied.messages += batch.length;
    copied.bytes += bytes;
    copied.places = [...reached];
    batch = [];
    bytes = 0;
    progress(copied);
  };
  for await (const message of readBetween({ log, tools }, from, start, ends, context, signal)) {
    const { shard, position, value } = message;
    batch.push(contentOf(message));
    bytes += value.length;
    reached[shard] = position;
    if (batch.length >= BATCH_MESSAGES || bytes >= BATCH_BYTES) await publish();
  }
  if (!signal.aborted) await publish();
  return copied;
}
