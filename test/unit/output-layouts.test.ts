import { expect, test } from "vitest";
import { RAW_BOX_LENGTH, readBoxes, recogniseLayout, suppress } from "../../src/detector/output-layouts.ts";

const input = { width: 64, height: 32 };
const CELLS = 8 * 4 + 4 * 2 + 2 * 1; // 42
const PERSON = 0;
const CAR = 2;

/** A tensor of zeros with some rows set; `at(row, column)` finds the place of a number. */
function tensor(size: number, at: (row: number, column: number) => number, rows: Record<number, number[]>) {
  const output = new Float32Array(size);
  for (const [row, values] of Object.entries(rows)) {
    values.forEach((value, column) => {
      output[at(Number(row), column)] = value;
    });
  }
  return output;
}

test("the family is known by the shapes alone", () => {
  expect(recogniseLayout([1, 84, 5040], 640, 384)).toBe("v8");
  expect(recogniseLayout([1, 84, 8400], 640, 640)).toBe("v8");
  expect(recogniseLayout([1, 25200, 85], 640, 640)).toBe("v5");
  expect(recogniseLayout([1, 3549, 85], 416, 416)).toBe("yolox");
  expect(recogniseLayout([1, 300, 6], 640, 640)).toBe("end-to-end");
  expect(() => recogniseLayout([1, 10, 10], 640, 640)).toThrow(/none of \[1, 4\+classes, 8400\]/);
  expect(() => recogniseLayout([8400, 84], 640, 640)).toThrow(/8400/);
});

test("v8 and v11: attributes by rows, best class counts", () => {
  const output = tensor(7 * CELLS, (cell, attribute) => attribute * CELLS + cell, {
    3: [20, 10, 8, 4, 0.9, 0.1, 0.2], // a person
    5: [30, 10, 8, 4, 0.5, 0.1, 0.6], // a car, however much a person
    7: [40, 10, 8, 4, 0.3, 0.8, 0], // best class is none of ours
    9: [50, 10, 8, 4, 0.05, 0, 0], // too weak
  });
  const boxes = readBoxes(output, [1, 7, CELLS], input, [PERSON, CAR], 0.1);
  expectBoxes(boxes, [
    [16, 8, 24, 12, 0.9, PERSON],
    [26, 8, 34, 12, 0.6, CAR],
  ]);
});

test("v5: three anchors a cell, objectness times class score", () => {
  const output = tensor(3 * CELLS * 8, (row, column) => row * 8 + column, {
    100: [20, 10, 8, 4, 0.8, 0.5, 0, 0.25],
    101: [20, 10, 8, 4, 0.2, 0.4, 0, 0], // 0.08
  });
  expectBoxes(readBoxes(output, [1, 3 * CELLS, 8], input, [PERSON, CAR], 0.1), [[16, 8, 24, 12, 0.4, PERSON]]);
});

test("YOLOX: offsets to the cell in strides, size as a logarithm", () => {
  const output = tensor(CELLS * 8, (row, column) => row * 8 + column, {
    // stride 8, column 3 of line 1; stride 16, column 2 of line 1; stride 32, column 1
    11: [0.5, 0.25, Math.log(2), 0, 1, 0.5, 0, 0],
    38: [0, 0, 0, 0, 1, 0, 0, 0.7],
    41: [0.5, 0.5, 0, 0, 1, 0.9, 0, 0],
  });
  expectBoxes(readBoxes(output, [1, CELLS, 8], input, [PERSON, CAR], 0.1), [
    [28 - 8, 10 - 4, 28 + 8, 10 + 4, 0.5, PERSON],
    [32 - 8, 16 - 8, 32 + 8, 16 + 8, 0.7, CAR],
    [48 - 16, 16 - 16, 48 + 16, 16 + 16, 0.9, PERSON],
  ]);
});

test("v10 and v26: as they are", () => {
  const output = Float32Array.from([1, 2, 3, 4, 0.9, CAR, 5, 6, 7, 8, 0.05, CAR, 1, 1, 2, 2, 0.8, 1]);
  expectBoxes(readBoxes(output, [1, 3, 6], input, [PERSON, CAR], 0.1), [[1, 2, 3, 4, 0.9, CAR]]);
});

test("suppression is by class, the best stays", () => {
  const boxes = Float32Array.from(
    [
      [0, 0, 10, 10, 0.5, PERSON],
      [1, 0, 11, 10, 0.9, PERSON],
      [0, 0, 10, 10, 0.4, CAR],
      [30, 0, 40, 10, 0.3, PERSON],
    ].flat(),
  );
  expectBoxes(suppress(boxes, 0.7), [
    [1, 0, 11, 10, 0.9, PERSON],
    [0, 0, 10, 10, 0.4, CAR],
    [30, 0, 40, 10, 0.3, PERSON],
  ]);
  expect(suppress(boxes, 0.9)).toHaveLength(4 * RAW_BOX_LENGTH); // IoU is 0.82
  expect(suppress(new Float32Array(0), 0.7)).toHaveLength(0);
});

function expectBoxes(boxes: Float32Array, wanted: number[][]) {
  expect(boxes.length / RAW_BOX_LENGTH).toBe(wanted.length);
  wanted.flat().forEach((value, i) => {
    expect(boxes[i]).toBeCloseTo(value, 4);
  });
}
