import { expect, test } from "vitest";
import { letterbox, toFrame } from "../../src/detector/letterbox.ts";
import { pictureBytes, pictureLayout, scaledRegions } from "../../src/detector/picture.ts";
import { blankTensor, factors, rgbBytes, writeRgb, writeTensor } from "../../src/detector/pixels.ts";

const open = { kind: "open", longSidePx: 640 } as const;

test.each([
  [1920, 1080, 640, 384, 640, 360],
  [768, 576, 640, 480, 640, 480],
  [810, 1080, 480, 640, 480, 640],
  [1080, 1920, 384, 640, 360, 640],
  [640, 640, 640, 640, 640, 640],
  [5000, 100, 640, 32, 640, 12],
])("%i×%i goes into %i×%i as %i×%i", (frameWidth, frameHeight, width, height, contentWidth, contentHeight) => {
  const box = letterbox(open, frameWidth, frameHeight);
  expect(box).toMatchObject({ width, height, contentWidth, contentHeight });
  expect(box.left % 2).toBe(0);
  expect(box.top % 2).toBe(0);
  expect(Math.abs(width - contentWidth - 2 * box.left)).toBeLessThanOrEqual(2);
});

test("fixed axes are kept, whatever the frame's shape", () => {
  const box = letterbox({ kind: "fixed", width: 416, height: 416 }, 1920, 1080);
  expect(box).toMatchObject({ width: 416, height: 416, contentWidth: 416, contentHeight: 234, left: 0, top: 90 });
});

test("boxes come back to where they were, cut at the frame's edges", () => {
  const box = letterbox(open, 1920, 1080);
  expect(toFrame(box, [0, 12, 640, 372])).toEqual([0, 0, 1920, 1080]);
  expect(toFrame(box, [-9, 0, 700, 384])).toEqual([0, 0, 1920, 1080]);
  const [x1, y1, x2, y2] = toFrame(box, [64, 48, 128, 84]);
  expect([x1, y1, x2, y2].map(Math.round)).toEqual([192, 108, 384, 216]);
});

test("the tensor has the model's channels, range and padding", () => {
  const box = letterbox({ kind: "fixed", width: 32, height: 32 }, 32, 16);
  const layout = pictureLayout(box, { matrix: "bt601", range: "full" });
  const data = new SharedArrayBuffer(pictureBytes(layout));
  const planes = new Uint8Array(data);
  const luma = layout.stride * layout.rows;
  planes
    .fill(76, 0, luma)
    .fill(85, luma, luma * 1.25)
    .fill(255, luma * 1.25); // pure red in full-range bt601
  const picture = { layout, data };
  const rgb = blankTensor(box, 1);
  writeTensor(picture, "rgb", 1, rgb);
  const bgr = blankTensor(box, 255);
  writeTensor(picture, "bgr", 255, bgr);
  const plane = 32 * 32;
  const inside = 16 * 32 + 5;
  expect(rgb[inside]).toBeCloseTo(1, 1);
  expect(rgb[plane + inside]).toBeCloseTo(0, 1);
  expect(rgb[2 * plane + inside]).toBeCloseTo(0, 1);
  expect(bgr[inside]).toBeLessThan(3);
  expect(bgr[2 * plane + inside]).toBeGreaterThan(252);
  expect(rgb[0]).toBeCloseTo(114 / 255);
  expect(bgr[0]).toBe(114);
  const pixel = new Uint8Array(3);
  writeRgb(picture, [{ left: 3, top: 3, width: 1, height: 1 }], pixel);
  expect([...pixel].map((v) => Math.round(v / 16))).toEqual([16, 0, 0]);
});

test("the scaled frame's bands, side by side, come together again", () => {
  const box = letterbox({ kind: "fixed", width: 32, height: 32 }, 100, 50); // scaled to 32 × 16
  const layout = pictureLayout(box, { matrix: "bt601", range: "full" });
  expect(layout).toMatchObject({ stride: 100, rows: 50 + 6, bands: 3, bandRows: 6 });
  const data = new SharedArrayBuffer(pictureBytes(layout));
  const planes = new Uint8Array(data).fill(128);
  for (let y = 0; y < 16; y += 1) {
    const at = (50 + (y % 6)) * 100 + Math.floor(y / 6) * 32;
    planes.fill(y * 10, at, at + 32);
  }
  const tensor = blankTensor(box, 255);
  writeTensor({ layout, data }, "rgb", 255, tensor);
  const rows = Array.from({ length: 32 }, (_, y) => Math.round(tensor[y * 32 + 31] ?? -1));
  expect(rows).toEqual(Array.from({ length: 32 }, (_, y) => (y >= 8 && y < 24 ? (y - 8) * 10 : 114)));
  const rgb = new Uint8Array(rgbBytes(scaledRegions(layout)));
  writeRgb({ layout, data }, scaledRegions(layout), rgb);
  expect(rgb).toHaveLength(32 * 16 * 3);
  expect(Array.from({ length: 16 }, (_, y) => rgb[y * 96])).toEqual(Array.from({ length: 16 }, (_, y) => y * 10));
});

test("grey stays grey in every matrix and range", () => {
  for (const matrix of ["bt601", "bt709", "bt2020"] as const) {
    expect(factors({ matrix, range: "limited" })).toMatchObject({ offset: 16, luma: 255 / 219 });
    const { gu, gv, rv, bu } = factors({ matrix, range: "full" });
    expect(rv).toBeGreaterThan(1.4);
    expect(bu).toBeGreaterThan(1.7);
    expect(gu).toBeLessThan(0);
    expect(gv).toBeLessThan(0);
  }
});
