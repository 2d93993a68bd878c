/**
 * What a consumer knows of one shard that it owns: the messages read ahead, what is out, and which batch may go next.
 *
 * Messages up to `handedUntil` were handed out before and never came to an end: they are *suspects*, since one of them
 * may be what ended the process. Suspects go out one at a time, and alone (rules in `nextLine`).
 */
import type { StoredMessage } from "./redis-entries.ts";
import { comparePositions, type TopicMessage } from "./topic-log.ts";

export interface ShardLine {
  readonly shard: number;
  /** Fencing token of this taking of the shard. */
  readonly token: string;
  /** Where reading goes on: the last message in `ahead`, or before it the position that the group had. */
  readUntil: string;
  handedUntil: string;
  /** Batches up to here were given back `returns` times. */
  returnedUntil: string;
  returns: number;
  /** Read, not yet handed out; in order. */
  ahead: StoredMessage[];
  /**
   * A batch is with the consumer. "ending": it is done for, which is being noted; the next one's hand-out may be noted along with it
   * (on Kafka). A suspect stays one until that is noted.
   */
  out: "nothing" | "batch" | "suspect" | "ending";
  /** Given back: not before this moment, monotonic ms. */
  notBeforeMs: number;
  /** Another consumer waits for this shard: nothing more is handed out. */
  ceding: boolean;
}

/** A shard that was just taken, as redis-tick.lua tells it. */
export function newLine(
  shard: number,
  token: string,
  position: string,
  handed: string,
  returned: string,
  returns: number,
) {
  const line: ShardLine = {
    ...{ shard, token, readUntil: position, handedUntil: handed, returnedUntil: returned, returns },
    ...{ ahead: [], out: "nothing", notBeforeMs: 0, ceding: false },
  };
  return line;
}

export const isUpTo = (message: StoredMessage, position: string) => comparePositions(message.position, position) <= 0;

/** The next message was handed out before, and nobody knows what became of it. */
export const isSuspect = (line: ShardLine) => line.ahead[0] !== undefined && isUpTo(line.ahead[0], line.handedUntil);

/**
 * The line whose turn it is, or undefined. `lines` in the order of whose turn was longest ago. A suspect goes out only
 * when nothing else is out, and nothing goes out beside it: so the one that ends the process is known for certain.
 */
export function nextLine(lines: readonly ShardLine[], nowMs: number): ShardLine | undefined {
  if (lines.some((line) => line.out === "suspect")) return undefined;
  const isFree = ({ out }: ShardLine) => out === "nothing" || out === "ending";
  const ready = lines.filter(
    (line) => line.ahead.length > 0 && isFree(line) && !line.ceding && line.notBeforeMs <= nowMs,
  );
  const suspect = ready.find(isSuspect);
  if (suspect === undefined) return ready[0];
  return lines.every((line) => line.out === "nothing") ? suspect : undefined;
}

/** Takes the messages of the next batch out of the line: one suspect, or the batch that was given back, or the most there may be. */
export function takeBatch(line: ShardLine, maxMessages: number): StoredMessage[] {
  const first = line.ahead[0];
  if (first === undefined) return [];
  let count = Math.min(maxMessages, line.ahead.length);
  if (isSuspect(line)) count = 1;
  else if (isUpTo(first, line.returnedUntil)) {
    const fresh = line.ahead.findIndex((message) => !isUpTo(message, line.returnedUntil));
    if (fresh !== -1) count = Math.min(count, fresh);
  }
  return line.ahead.splice(0, count);
}

/** `deliveries` as the contract counts them: this one and those before it, and each time that it was given back. */
export function withDeliveries(message: StoredMessage, line: ShardLine, deliveries: number): TopicMessage {
  return { ...message, deliveries: deliveries + (isUpTo(message, line.returnedUntil) ? line.returns : 0) };
}

/** Until the first batch that was given back may come again; undefined: none waits for its time. */
export function msUntilDue(lines: readonly ShardLine[], nowMs: number): number | undefined {
  const due = lines
    .filter((line) => line.ahead.length > 0 && line.out === "nothing" && line.notBeforeMs > nowMs)
    .map((line) => line.notBeforeMs - nowMs);
  return due.length > 0 ? Math.min(...due) : undefined;
}
