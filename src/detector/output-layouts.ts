/**
 * What the four families of YOLO models put out, read into one form. The family is recognised from the shapes of the
 * tensors alone:
 *
 *   v8, v11      [1, 4 + classes, cells]       centre and size in px, best class score, no objectness
 *   v5           [1, 3 × cells, 5 + classes]   three anchors a cell, decoded in the graph, objectness × class score
 *   YOLOX        [1, cells, 5 + classes]       offsets to the cell, logarithm of the size in strides, objectness × class
 *   v10, v26     [1, n, 6]                     corners, score, class: suppressed in the graph already
 *
 * where cells = (w/8)(h/8) + (w/16)(h/16) + (w/32)(h/32).
 */
import { VigilaneError } from "../errors.ts";

export type OutputLayout = "v8" | "v5" | "yolox" | "end-to-end";

/** Boxes of the input: corners in px, score 0 to 1, class index; six numbers each, one after the other. */
export type RawBoxes = Float32Array;
export const RAW_BOX_LENGTH = 6;

/** Most rows an end-to-end model puts out (300 in all that are published). */
const MOST_END_TO_END = 1_000;

export function recogniseLayout(dims: readonly number[], width: number, height: number): OutputLayout {
  const [batch, a, b] = dims;
  const cells = cellsOf(width, height);
  if (dims.length === 3 && batch === 1 && a !== undefined && b !== undefined) {
    if (b === 6 && a <= MOST_END_TO_END && a !== cells && a !== 3 * cells) return "end-to-end";
    if (b === cells && a > 4) return "v8";
    if (a === 3 * cells && b > 5) return "v5";
    if (a === cells && b > 5) return "yolox";
  }
  throw new VigilaneError(
    "MODEL_UNREADABLE",
    `the model's output is [${dims.join(", ")}] for an input of ${width}×${height}: none of [1, 4+classes, ${cells}], ` +
      `[1, ${3 * cells}, 5+classes], [1, ${cells}, 5+classes], [1, n, 6]`,
  );
}

const STRIDES = [8, 16, 32] as const;
const cellsOf = (width: number, height: number) =>
  STRIDES.reduce((sum, stride) => sum + Math.floor(width / stride) * Math.floor(height / stride), 0);

/**
 * Reads the boxes whose best class is one of `wanted` with at least `minScore`, before suppression. A box whose best
 * class is another one is none of ours, however well the second best fits.
 */
export function readBoxes(
  output: Float32Array,
  dims: readonly number[],
  input: { width: number; height: number },
  wanted: readonly number[],
  minScore: number,
): RawBoxes {
  const layout = recogniseLayout(dims, input.width, input.height);
  const [, a = 0, b = 0] = dims;
  switch (layout) {
    case "v8":
      return readV8(output, a, b, wanted, minScore);
    case "v5":
      return readWithObjectness(output, a, b, wanted, minScore, centred);
    case "yolox":
      return readWithObjectness(output, a, b, wanted, minScore, yoloxBox(input.width, input.height));
    case "end-to-end":
      return readEndToEnd(output, a, wanted, minScore);
    default:
      return layout satisfies never;
  }
}

/** Attributes by rows, cells by columns: walked along the rows, for the cache's sake. */
function readV8(output: Float32Array, rows: number, cells: number, wanted: readonly number[], minScore: number) {
  const found: number[] = [];
  const at = (row: number, cell: number) => output[row * cells + cell] as number;
  const candidates = new Set<number>();
  for (const index of wanted) {
    const row = (4 + index) * cells;
    if (4 + index < rows) {
      for (let cell = 0; cell < cells; cell += 1) if ((output[row + cell] as number) >= minScore) candidates.add(cell);
    }
  }
  for (const cell of [...candidates].sort((p, q) => p - q)) {
    let best = 0;
    for (let index = 1; index < rows - 4; index += 1) if (at(4 + index, cell) > at(4 + best, cell)) best = index;
    if (!wanted.includes(best)) continue;
    found.push(...corners(at(0, cell), at(1, cell), at(2, cell), at(3, cell)), at(4 + best, cell), best);
  }
  return Float32Array.from(found);
}

/** The four corners from one row's first four numbers. `row`: which row. */
type BoxOf = (row: number, a: number, b: number, c: number, d: number) => readonly [number, number, number, number];

const corners = (x: number, y: number, w: number, h: number) => [x - w / 2, y - h / 2, x + w / 2, y + h / 2] as const;
const centred: BoxOf = (_row, x, y, w, h) => corners(x, y, w, h);

function readWithObjectness(
  output: Float32Array,
  rows: number,
  length: number,
  wanted: readonly number[],
  minScore: number,
  boxOf: BoxOf,
) {
  const found: number[] = [];
  for (let row = 0; row < rows; row += 1) {
    const start = row * length;
    const at = (column: number) => output[start + column] as number;
    if (at(4) < minScore) continue; // the class score is 1 at most
    let best = 0;
    for (let index = 1; index < length - 5; index += 1) if (at(5 + index) > at(5 + best)) best = index;
    const score = at(4) * at(5 + best);
    if (score < minScore || !wanted.includes(best)) continue;
    found.push(...boxOf(row, at(0), at(1), at(2), at(3)), score, best);
  }
  return Float32Array.from(found);
}

/** Cells lie row by row, stride 8 first (YOLOX, yolox/utils/demo_utils.py, demo_postprocess). */
function yoloxBox(width: number, height: number): BoxOf {
  const levels = STRIDES.map((stride) => ({
    stride,
    across: Math.floor(width / stride),
    down: Math.floor(height / stride),
  }));
  return (row, x, y, w, h) => {
    let cell = row;
    for (const { stride, across, down } of levels) {
      if (cell < across * down) {
        const column = cell % across;
        const line = Math.floor(cell / across);
        return corners((x + column) * stride, (y + line) * stride, Math.exp(w) * stride, Math.exp(h) * stride);
      }
      cell -= across * down;
    }
    throw new RangeError(`row ${row} is beyond the model's grid`);
  };
}

function readEndToEnd(output: Float32Array, rows: number, wanted: readonly number[], minScore: number) {
  const found: number[] = [];
  for (let row = 0; row < rows; row += 1) {
    const [x1, y1, x2, y2, score, index] = output.subarray(row * 6, row * 6 + 6) as unknown as number[];
    if (score === undefined || index === undefined || score < minScore || !wanted.includes(Math.round(index))) continue;
    found.push(x1 as number, y1 as number, x2 as number, y2 as number, score, Math.round(index));
  }
  return Float32Array.from(found);
}

/**
 * Class-wise non-maximum suppression: of two boxes of one class that overlap by more than `maxIou` the weaker one goes.
 * Returns the survivors, best first.
 */
export function suppress(boxes: RawBoxes, maxIou: number): RawBoxes {
  const count = boxes.length / RAW_BOX_LENGTH;
  const value = (box: number, column: number) => boxes[box * RAW_BOX_LENGTH + column] as number;
  const order = Array.from({ length: count }, (_, i) => i).sort((p, q) => value(q, 4) - value(p, 4) || p - q);
  const kept: number[] = [];
  for (const box of order) {
    const rival = kept.some((other) => value(other, 5) === value(box, 5) && iouAt(boxes, other, box) > maxIou);
    if (!rival) kept.push(box);
  }
  const result = new Float32Array(kept.length * RAW_BOX_LENGTH);
  kept.forEach((box, i) => {
    result.set(boxes.subarray(box * RAW_BOX_LENGTH, (box + 1) * RAW_BOX_LENGTH), i * RAW_BOX_LENGTH);
  });
  return result;
}

function iouAt(boxes: RawBoxes, p: number, q: number): number {
  const value = (box: number, column: number) => boxes[box * RAW_BOX_LENGTH + column] as number;
  const across = Math.min(value(p, 2), value(q, 2)) - Math.max(value(p, 0), value(q, 0));
  const down = Math.min(value(p, 3), value(q, 3)) - Math.max(value(p, 1), value(q, 1));
  if (across <= 0 || down <= 0) return 0;
  const area = (box: number) => (value(box, 2) - value(box, 0)) * (value(box, 3) - value(box, 1));
  return (across * down) / (area(p) + area(q) - across * down);
}
