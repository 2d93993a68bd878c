/**
 * Who is who from look to look. ByteTrack's two-stage association (Zhang et al. 2022): first the confident boxes against
 * all tracks, then the weak ones against what is left, so that a road user half hidden keeps its id while a weak box
 * alone never starts one. At one look a second people no longer overlap themselves, so the cost is not IoU but the
 * distance to where the track should be by now, in units of how far such a road user can get in that time.
 *
 * Pure: the state goes in and comes out; ids are numbers counted up.
 */
import type { Bbox } from "../messages.ts";
import { assign } from "./assignment.ts";

/** A box before tracking. */
export interface Candidate {
  class: string;
  confidence: number;
  bbox: Bbox;
}

export type Tracked = Candidate & { trackId: number };

export interface Track {
  id: number;
  class: string;
  bbox: Bbox;
  /** When `bbox` was seen. */
  seenAtMs: number;
  /** Of the centre, px a second; null: seen once only. */
  velocity: readonly [number, number] | null;
}

export interface TrackState {
  tracks: readonly Track[];
  nextId: number;
  /** When the last look was; null before the first. */
  atMs: number | null;
}

export interface TrackRule {
  /** Boxes from here on start tracks and are matched first. */
  confident: number;
  /** Boxes below `confident` and from here on only continue tracks. */
  weak: number;
  /** A track unseen for longer is forgotten. At least three looks. */
  lostAfterMs: number;
}

export const BYTE_TRACK: TrackRule = { confident: 0.25, weak: 0.1, lostAfterMs: 3_000 };

export const NO_TRACKS: TrackState = { tracks: [], nextId: 1, atMs: null };

/** Classes that a detector confuses are one kind: a track may change between them, at a price. */
const KINDS: Readonly<Record<string, string>> = {
  person: "person",
  bicycle: "two-wheeler",
  motorcycle: "two-wheeler",
  car: "vehicle",
  bus: "vehicle",
  truck: "vehicle",
};
const kindOf = (name: string) => KINDS[name] ?? name;

/**
 * How fast a kind may go, in sizes (root of the box's area) a second; a person's is about 1 m, a car's 2.5 m. This and
 * the numbers below were chosen on the demo footage (bench/detector-tracking.ts).
 */
const SIZES_PER_SECOND: Readonly<Record<string, number>> = { person: 1.6, "two-wheeler": 5, vehicle: 5 };
const OTHER_SIZES_PER_SECOND = 3;

/** Slack for the detector's own jitter, in sizes. */
const JITTER_SIZES = 0.35;
/** With a known velocity only this share of the reach is needed: what it may change by. */
const STEADY = 0.4;
/** Someone lost for longer may not have got further than in this: a wide net catches others. */
const MOST_REACH_SECONDS = 1;
/** Over which time the velocity is a mean: at one look a second nearly the newest step alone, at ten of several. */
const VELOCITY_SECONDS = 0.4;
/** What was just seen is rather meant than what was lost. */
const LOST_PRICE = 0.5;
/** Largest change of size from look to look (e^0.7: doubling). */
const MOST_GROWTH = 0.7;
const OTHER_CLASS_PRICE = 0.3;

/**
 * The look at `atMs`: the tracked boxes, in the order of the candidates, and the next state. A weak box that continues
 * no track is left out.
 */
export function track(
  state: TrackState,
  candidates: readonly Candidate[],
  atMs: number,
  rule: TrackRule = BYTE_TRACK,
): { tracked: Tracked[]; state: TrackState } {
  const ids = new Map<number, number>(); // candidate → track id
  const next = new Map(state.tracks.map((known) => [known.id, known]));
  const match = (which: readonly number[], among: readonly Track[]) => {
    const costs = which.map((i) =>
      among.map((known) => costOf(known, candidates[i] as Candidate, atMs, known.seenAtMs !== state.atMs)),
    );
    for (const { row, column } of assign(costs, among.length)) {
      const known = among[column] as Track;
      ids.set(which[row] as number, known.id);
      next.set(known.id, moved(known, candidates[which[row] as number] as Candidate, atMs));
    }
  };
  const indices = candidates.map((_, i) => i);
  const confident = indices.filter((i) => confidence(candidates, i) >= rule.confident);
  const weak = indices.filter(
    (i) => confidence(candidates, i) < rule.confident && confidence(candidates, i) >= rule.weak,
  );
  match(confident, state.tracks);
  const taken = new Set(ids.values());
  // A weak box may stand for what was just seen, not for what was lost: that would be a guess.
  match(
    weak,
    state.tracks.filter((known) => !taken.has(known.id) && known.seenAtMs === state.atMs),
  );

  let nextId = state.nextId;
  for (const i of confident) {
    if (ids.has(i)) continue;
    const { class: name, bbox } = candidates[i] as Candidate;
    next.set(nextId, { id: nextId, class: name, bbox, seenAtMs: atMs, velocity: null });
    ids.set(i, nextId);
    nextId += 1;
  }
  const tracks = [...next.values()].filter((known) => atMs - known.seenAtMs <= rule.lostAfterMs);
  const tracked = indices.flatMap((i) => {
    const trackId = ids.get(i);
    return trackId === undefined ? [] : [{ ...(candidates[i] as Candidate), trackId }];
  });
  return { tracked, state: { tracks, nextId, atMs } };
}

const confidence = (candidates: readonly Candidate[], i: number) => candidates[i]?.confidence ?? 0;

/** 0: exactly where it should be; Infinity: cannot be the same. */
function costOf(known: Track, candidate: Candidate, atMs: number, lost: boolean): number {
  const kind = kindOf(known.class);
  if (kind !== kindOf(candidate.class)) return Number.POSITIVE_INFINITY;
  const size = sizeOf(known.bbox);
  const growth = Math.abs(Math.log(sizeOf(candidate.bbox) / size));
  if (!(growth <= MOST_GROWTH)) return Number.POSITIVE_INFINITY;
  const seconds = Math.max(0.01, (atMs - known.seenAtMs) / 1000);
  const [vx, vy] = known.velocity ?? [0, 0];
  const [x, y] = centreOf(known.bbox);
  const [candidateX, candidateY] = centreOf(candidate.bbox);
  const off = Math.hypot(candidateX - (x + vx * seconds), candidateY - (y + vy * seconds));
  const speed = (SIZES_PER_SECOND[kind] ?? OTHER_SIZES_PER_SECOND) * (known.velocity ? STEADY : 1);
  const reach = size * (JITTER_SIZES + speed * Math.min(seconds, MOST_REACH_SECONDS));
  if (!(off <= reach)) return Number.POSITIVE_INFINITY;
  return off / reach + growth + (known.class === candidate.class ? 0 : OTHER_CLASS_PRICE) + (lost ? LOST_PRICE : 0);
}

function moved(known: Track, { class: name, bbox }: Candidate, atMs: number): Track {
  const seconds = (atMs - known.seenAtMs) / 1000;
  const [x, y] = centreOf(bbox);
  const [beforeX, beforeY] = centreOf(known.bbox);
  if (!(seconds > 0)) return { ...known, class: name, bbox, seenAtMs: atMs };
  const measured = [(x - beforeX) / seconds, (y - beforeY) / seconds] as const;
  const fresh = 1 - Math.exp(-seconds / VELOCITY_SECONDS);
  const velocity = known.velocity
    ? ([
        known.velocity[0] + fresh * (measured[0] - known.velocity[0]),
        known.velocity[1] + fresh * (measured[1] - known.velocity[1]),
      ] as const)
    : measured;
  return { id: known.id, class: name, bbox, seenAtMs: atMs, velocity };
}

const centreOf = ([x1, y1, x2, y2]: Bbox) => [(x1 + x2) / 2, (y1 + y2) / 2] as const;
const sizeOf = ([x1, y1, x2, y2]: Bbox) => Math.sqrt(Math.max(1, (x2 - x1) * (y2 - y1)));
