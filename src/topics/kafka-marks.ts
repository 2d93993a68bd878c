/**
 * What a group notes of one partition besides its position: which messages were handed out and never came to an end, and
 * how often one of them was the last thing that a process did. It lies beside the committed offset, as that offset's
 * metadata, and so changes together with it, fenced by the group's generation. Pure.
 */
import { z } from "zod";

export interface Marks {
  /** The next message to be worked on: what is committed. */
  position: bigint;
  /** Handed out up to this one, inclusive; position − 1: nothing is out. */
  handed: bigint;
  /** Given back up to this one, inclusive, `returns` times; −1: none. */
  returned: bigint;
  returns: number;
  /** The message that goes out alone, marked, since it may be what ended a process; −1: none. */
  suspect: bigint;
  strikes: number;
  /** The suspect was out when this was written. */
  out: boolean;
  /** Messages that were deleted before this group read them. */
  lost: number;
}

const whole = z
  .string()
  .regex(/^-?\d+$/)
  .transform(BigInt);
const Written = z.object({
  h: whole.optional(),
  r: whole.optional(),
  n: z.number().int().optional(),
  s: whole.optional(),
  k: z.number().int().optional(),
  o: z.literal(1).optional(),
  l: z.number().int().optional(),
});

export function freshMarks(position: bigint): Marks {
  return { position, handed: position - 1n, returned: -1n, returns: 0, suspect: -1n, strikes: 0, out: false, lost: 0 };
}

/** "" when there is nothing to tell. */
export function marksToMetadata({ position, handed, returned, returns, suspect, strikes, out, lost }: Marks): string {
  const text = JSON.stringify({
    ...(handed >= position && { h: String(handed) }),
    ...(returned >= position && { r: String(returned), n: returns }),
    ...(suspect >= position && { s: String(suspect), k: strikes, ...(out && { o: 1 }) }),
    ...(lost > 0 && { l: lost }),
  });
  return text === "{}" ? "" : text;
}

/** Metadata that is not ours (a position set by another tool) tells nothing. */
export function marksOf(position: bigint, metadata: string | null): Marks {
  const fresh = freshMarks(position);
  const parsed = Written.safeParse(jsonOf(metadata));
  if (!parsed.success) return fresh;
  const { h, r, n, s, k, o, l } = parsed.data;
  return {
    ...fresh,
    ...(h !== undefined && { handed: h }),
    ...(r !== undefined && { returned: r, returns: n ?? 0 }),
    ...(s !== undefined && { suspect: s, strikes: k ?? 0, out: o === 1 }),
    lost: l ?? 0,
  };
}

/** Metadata of a position that somebody has set with our tools: there the group goes on, whatever was noted before. Gone with the next commit. */
export const MOVED_BY_HAND = JSON.stringify({ m: 1 });

/** Back to an earlier position, whose messages have come to their ends, but whose effects were forgotten: none of them is a suspect. */
export const seekBack = ({ lost }: Marks, position: bigint): Marks => ({ ...freshMarks(position), lost });

function jsonOf(text: string | null): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}

/** Messages up to `last` go out. A suspect gains a strike when it was out, alone and marked, as a process ended. */
export function handOut(marks: Marks, last: bigint, suspect: boolean): Marks {
  if (!suspect) return { ...marks, handed: last };
  const again = marks.suspect === last;
  return { ...marks, suspect: last, strikes: again ? marks.strikes + (marks.out ? 1 : 0) : 0, out: true };
}

export function acknowledge(marks: Marks, last: bigint): Marks {
  const position = last + 1n;
  const { handed, returned, returns, lost } = marks;
  return {
    ...freshMarks(position),
    ...(handed > last && { handed }),
    ...(returned > last && { returned, returns }),
    lost,
  };
}

export function giveBack(marks: Marks, last: bigint, suspect: boolean): Marks {
  const handed = suspect ? marks.handed : marks.position - 1n;
  return { ...marks, handed, out: false, returned: last, returns: marks.returns + 1 };
}

/** The log now begins at `first`: what the group had not read before it is gone. */
export function trimmedTo(marks: Marks, first: bigint): Marks {
  if (first <= marks.position) return marks;
  const lost = marks.lost + Number(first - marks.position);
  return { ...acknowledge(marks, first - 1n), lost };
}
