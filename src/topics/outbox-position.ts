/**
 * How far the outbox is published: the last entry, and those before it that were held back at the time. Pure. It is
 * committed together with the messages, as the metadata of an offset, which holds 4,096 bytes.
 */
import { z } from "zod";
import { comparePositions } from "./topic-log.ts";

export interface OutboxPosition {
  /** Id of the last entry that is published; "0-0": none. */
  last: string;
  /** Entries up to `last` that are not. */
  held: readonly string[];
}

/** Entries that wait for something are few and for half a second; their ids have to fit into the metadata. */
export const MOST_HELD = 100;

const Id = z.string().regex(/^\d+-\d+$/);
const Written = z.object({ l: Id, h: z.array(Id) });

export const NOTHING_PUBLISHED: OutboxPosition = { last: "0-0", held: [] };

export const positionToMetadata = ({ last, held }: OutboxPosition) => JSON.stringify({ l: last, h: held });

/** Throws when it is not ours: whoever guesses here loses or doubles outcomes. */
export function metadataToPosition(metadata: string): OutboxPosition {
  const { l, h } = Written.parse(JSON.parse(metadata));
  return { last: l, held: h };
}

export const isPublished = ({ last, held }: OutboxPosition, id: string) =>
  comparePositions(id, last) <= 0 && !held.includes(id);

/**
 * Which of `wanted` go out now, and the position after them. `present`: all ids in the outbox up to the last
 * wanted one and up to the last published one, in order. Fewer than wanted where too many lie between that are held back.
 */
export function nextPosition(
  before: OutboxPosition,
  wanted: ReadonlySet<string>,
  present: readonly string[],
): { chosen: Set<string>; after: OutboxPosition } {
  const chosen = new Set<string>();
  const held: string[] = [];
  let { last } = before;
  let heldUntilLast = 0;
  for (const id of present) {
    if (isPublished(before, id)) continue;
    if (wanted.has(id)) {
      chosen.add(id);
      if (comparePositions(id, last) > 0) last = id;
      heldUntilLast = held.length;
    } else {
      if (held.length === MOST_HELD) break;
      held.push(id);
    }
  }
  // Behind the last published one nobody needs to be named; before an earlier `last` everybody does.
  const named = held.filter((id, i) => i < heldUntilLast || comparePositions(id, last) <= 0);
  return { chosen, after: { last, held: named } };
}
