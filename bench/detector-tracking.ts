/**
 * How well one look a second tells who is who: IDF1 of tracks at 1 fps against tracks at 10 fps of the same footage, where
 * people overlap themselves from frame to frame and plain IoU suffices. Beside it plain IoU at 1 fps.
 *
 *   node bench/detector-tracking.ts
 *
 * IDF1 (Ristani et al. 2016): identities of the two are matched one to one so that the most boxes agree; both see the very
 * same boxes, so only identities count. Boxes of the frames at 0, 1, 2 … s, confident in both.
 */
import { assign } from "../src/detector/assignment.ts";
import { iou } from "../src/detector/geometry.ts";
import type { Box } from "../src/detector/inference-pool.ts";
import { BYTE_TRACK, NO_TRACKS, type Tracked, track } from "../src/detector/track.ts";
import { FOOTAGE_FPS, footageBoxes } from "./detector-footage.ts";

type Look = { atMs: number; tracked: Tracked[] };

function ours(frames: Box[][], stepMs: number): Look[] {
  let state = NO_TRACKS;
  return frames.map((boxes, i) => {
    const look = track(state, boxes, i * stepMs);
    state = look.state;
    return { atMs: i * stepMs, tracked: look.tracked };
  });
}

/** Association by overlap alone (at least 0.3, as SORT), confident boxes only; tracks unseen for `lostAfterMs` end. */
function plainIou(frames: Box[][], stepMs: number, lostAfterMs: number): Look[] {
  let tracks: { id: number; box: Box; seenAtMs: number }[] = [];
  let nextId = 1;
  return frames.map((all, i) => {
    const atMs = i * stepMs;
    const boxes = all.filter(({ confidence }) => confidence >= BYTE_TRACK.confident);
    const costs = boxes.map((box) =>
      tracks.map((known) => {
        const overlap = known.box.class === box.class ? iou(known.box.bbox, box.bbox) : 0;
        return overlap >= 0.3 ? 1 - overlap : Number.POSITIVE_INFINITY;
      }),
    );
    const pairs = new Map(assign(costs, tracks.length).map(({ row, column }) => [row, column]));
    const tracked = boxes.map((box, row) => {
      const column = pairs.get(row);
      const known = column === undefined ? undefined : tracks[column];
      if (known) Object.assign(known, { box, seenAtMs: atMs });
      const trackId = known?.id ?? nextId++;
      if (!known) tracks.push({ id: trackId, box, seenAtMs: atMs });
      return { ...box, trackId };
    });
    tracks = tracks.filter(({ seenAtMs }) => atMs - seenAtMs <= lostAfterMs);
    return { atMs, tracked };
  });
}

/** Share of boxes whose identity agrees, and how often an identity of the reference is broken. */
function compare(reference: Look[], looks: Look[]) {
  const together = new Map<string, number>();
  const [theirs, mine] = [new Set<number>(), new Set<number>()];
  const last = new Map<number, number>();
  let boxes = 0;
  let switches = 0;
  for (const { atMs, tracked } of looks) {
    const there = reference.find((look) => look.atMs === atMs)?.tracked ?? [];
    for (const { trackId, bbox } of tracked) {
      const same = there.find((other) => other.bbox.every((px, i) => px === bbox[i]));
      if (!same) continue;
      boxes += 1;
      theirs.add(same.trackId);
      mine.add(trackId);
      const key = `${same.trackId} ${trackId}`;
      together.set(key, (together.get(key) ?? 0) + 1);
      const before = last.get(same.trackId);
      if (before !== undefined && before !== trackId) switches += 1;
      last.set(same.trackId, trackId);
    }
  }
  const columns = [...mine];
  const most = Math.max(...together.values());
  const costs = [...theirs].map((their) => columns.map((my) => most - (together.get(`${their} ${my}`) ?? 0)));
  const agreed = assign(costs, columns.length).reduce(
    (sum, { row, column }) => sum + most - (costs[row]?.[column] ?? most),
    0,
  );
  // Every box is in both, so false positives and false negatives are the boxes that do not agree: IDF1 = agreed / boxes.
  return { idf1: agreed / boxes, boxes, identities: theirs.size, found: mine.size, switches };
}

const frames = await footageBoxes();
const everySecond = frames.filter((_, i) => i % FOOTAGE_FPS === 0);
const references = { "10 fps, plain IoU": plainIou(frames, 100, 1_000), "10 fps, ours": ours(frames, 100) };
for (const [name, reference] of Object.entries(references)) {
  const rows = { ours: ours(everySecond, 1000), "plain IoU": plainIou(everySecond, 1000, 3_000) };
  for (const [who, looks] of Object.entries(rows)) {
    const { idf1, boxes, identities, found, switches } = compare(reference, looks);
    console.log(
      `against ${name}: ${who} at 1 fps: IDF1 ${idf1.toFixed(3)} (${boxes} boxes, ${identities} identities, ${found} found, ${switches} switches)`,
    );
  }
}
