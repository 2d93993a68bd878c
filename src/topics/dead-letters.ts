/**
 * Dead letters as people look at them, retry and purge them.
 *
 * No log lets single messages be taken out of its middle. So what was retried or purged is *settled* by a note: a message
 * on the same dead-letter topic that names the letters' places. A letter that a note names is shown no more, and what is
 * settled from the beginning on is deleted for good. A note comes after its letters, and so outlives them.
 */
import { z } from "zod";
import type { Context } from "../context.ts";
import { withoutHeaders } from "./foreign-record.ts";
import { readBetween } from "./read-topic.ts";
import {
  comparePositions,
  DEAD_LETTER_HEADERS,
  type OutgoingMessage,
  type TopicLog,
  type TopicMessage,
} from "./topic-log.ts";
import type { TopicTools } from "./topic-tools.ts";

/** Header of a note; its value says how. */
export const SETTLED = "dead-letter-settled";
export type HowSettled = "retried" | "purged";
const Note = z.object({ letters: z.array(z.object({ shard: z.number(), position: z.string() })) });

/** One publish and one note hold at most so many. */
const SETTLED_AT_ONCE = 100;

export interface DeadLetter {
  /** Its place on the dead-letter topic, by which people name it. */
  id: string;
  /** As it lies there. */
  letter: TopicMessage;
  /** The message as it was: without the headers that say why it died. */
  original: OutgoingMessage;
  /** Where it stood. Of a message that somebody else put here: the topic that these dead letters are of, and no place. */
  from: { topic: string; shard?: string; position?: string };
  code: string;
  reason: string;
  /** The same letter again: its writer was killed between the letter and the end of its batch. Settled together with it. */
  twins: TopicMessage[];
}

interface Parts {
  log: Pick<TopicLog, "tail" | "publish">;
  tools: Pick<TopicTools, "placesAt" | "deleteUpTo">;
}

/** Those of a dead-letter topic (by its own name) that are not settled, the oldest first. */
export async function readDeadLetters(
  parts: Parts,
  deadTopic: string,
  context: Pick<Context, "clock">,
  signal: AbortSignal,
): Promise<DeadLetter[]> {
  return lettersOf(await allOf(parts, deadTopic, context, signal), deadTopic);
}

/**
 * Publishes these to the topics where they stood, then settles them. Killed in between, some of them may be retried twice.
 * Rejects with why when some were refused; the others are settled. Resolves with how many it has retried: fewer, of the first,
 * when `signal` aborted.
 */
export async function retryLetters(
  parts: Parts,
  letters: readonly DeadLetter[],
  progress: (done: number) => void,
  signal?: AbortSignal,
): Promise<number> {
  for (let done = 0; done < letters.length; done += SETTLED_AT_ONCE) {
    if (signal?.aborted) return done;
    const some = letters.slice(done, done + SETTLED_AT_ONCE);
    const published = await Promise.allSettled(
      some.map(({ from, original }) => parts.log.publish(from.topic, [original])),
    );
    await settle(
      parts,
      some.filter((_, i) => published[i]?.status === "fulfilled"),
      "retried",
    );
    const refused = published.find((each) => each.status === "rejected");
    if (refused) throw refused.reason;
    progress(done + some.length);
  }
  return letters.length;
}

/** Resolves with how many it has purged: fewer, of the first, when `signal` aborted. */
export async function purgeLetters(
  parts: Parts,
  letters: readonly DeadLetter[],
  signal?: AbortSignal,
): Promise<number> {
  for (let done = 0; done < letters.length; done += SETTLED_AT_ONCE) {
    if (signal?.aborted) return done;
    await settle(parts, letters.slice(done, done + SETTLED_AT_ONCE), "purged");
  }
  return letters.length;
}

/** Deletes for good what is settled from the beginning on. */
export async function tidy(
  parts: Parts,
  deadTopic: string,
  context: Pick<Context, "clock">,
  signal: AbortSignal,
): Promise<void> {
  const messages = await allOf(parts, deadTopic, context, signal);
  const places = [...(await parts.tools.placesAt(deadTopic, "earliest"))];
  // With several shards a note could go before a letter that it names.
  if (places.length !== 1) return;
  const settled = settledIn(messages);
  for (const message of messages) {
    if (!isNote(message) && !settled.has(placeOf(message))) break;
    places[message.shard] = message.position;
  }
  await parts.tools.deleteUpTo(deadTopic, places);
}

async function settle({ log }: Parts, letters: readonly DeadLetter[], how: HowSettled): Promise<void> {
  const byTopic = Map.groupBy(letters, ({ letter }) => letter.topic);
  for (const [deadTopic, some] of byTopic) {
    const named = some.flatMap(({ letter, twins }) => [letter, ...twins]);
    const note: z.infer<typeof Note> = { letters: named.map(({ shard, position }) => ({ shard, position })) };
    await log.publish(deadTopic, [{ key: "", value: Buffer.from(JSON.stringify(note)), headers: { [SETTLED]: how } }]);
  }
}

async function allOf({ log, tools }: Parts, topic: string, context: Pick<Context, "clock">, signal: AbortSignal) {
  const [start, ends] = [await tools.placesAt(topic, "earliest"), await tools.placesAt(topic, "latest")];
  const messages: TopicMessage[] = [];
  for await (const message of readBetween({ log, tools }, topic, start, ends, context, signal)) messages.push(message);
  return messages.sort((a, b) => a.shard - b.shard || comparePositions(a.position, b.position));
}

function lettersOf(messages: readonly TopicMessage[], deadTopic: string): DeadLetter[] {
  const settled = settledIn(messages);
  const several = messages.some(({ shard }) => shard > 0);
  const found = new Map<string, DeadLetter>();
  for (const letter of messages) {
    if (isNote(letter) || settled.has(placeOf(letter))) continue;
    const read = letterOf(letter, deadTopic, several);
    const { topic, shard, position } = read.from;
    const same = `${topic} ${shard} ${position} ${letter.value.toString("base64")}`;
    const twin = position === undefined ? undefined : found.get(same);
    if (twin) twin.twins.push(letter);
    else found.set(position === undefined ? `here ${placeOf(letter)}` : same, read);
  }
  return [...found.values()];
}

function letterOf(letter: TopicMessage, deadTopic: string, several: boolean): DeadLetter {
  const { headers, shard, position } = letter;
  const told = (name: keyof typeof DEAD_LETTER_HEADERS) => headers[DEAD_LETTER_HEADERS[name]];
  const ours: string[] = Object.values(DEAD_LETTER_HEADERS);
  const [fromShard, fromPosition] = [told("shard"), told("position")];
  return {
    id: several ? `${shard}/${position}` : position,
    letter,
    original: withoutHeaders(letter, ours),
    from: {
      topic: told("topic") ?? deadTopic.replace(/\.dlq$/, ""),
      ...(fromShard !== undefined && { shard: fromShard }),
      ...(fromPosition !== undefined && { position: fromPosition }),
    },
    code: told("code") ?? "UNKNOWN",
    reason: told("message") ?? "",
    twins: [],
  };
}

const isNote = ({ headers }: TopicMessage) => headers[SETTLED] !== undefined;
const placeOf = ({ shard, position }: { shard: number; position: string }) => `${shard}/${position}`;

/** A note that cannot be read settles nothing. */
function settledIn(messages: readonly TopicMessage[]): Set<string> {
  const settled = new Set<string>();
  for (const message of messages.filter(isNote)) {
    try {
      for (const place of Note.parse(JSON.parse(message.value.toString("utf8"))).letters) settled.add(placeOf(place));
    } catch {}
  }
  return settled;
}
