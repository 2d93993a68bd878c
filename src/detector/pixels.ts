/**
 * YUV to RGB: for the model's tensor, and for the JPEG encoder. Every look goes through here, so it is written for speed:
 * tables of fixed-point numbers (16 bits of fraction) instead of products, one chroma sample for a block of four pixels.
 */
import type { Letterbox } from "./letterbox.ts";
import { type Colour, type Picture, type Region, scaledRegions } from "./picture.ts";

/** Factors of r = y·luma + (v−128)·rv and so on, for y after the offset is taken off. */
export function factors({ matrix, range }: Colour) {
  const [kr, kb] = KR_KB[matrix];
  const kg = 1 - kr - kb;
  const luma = range === "full" ? 1 : 255 / 219;
  const chroma = range === "full" ? 1 : 255 / 224;
  return {
    offset: range === "full" ? 0 : 16,
    luma,
    rv: 2 * (1 - kr) * chroma,
    bu: 2 * (1 - kb) * chroma,
    gu: (-2 * (1 - kb) * kb * chroma) / kg,
    gv: (-2 * (1 - kr) * kr * chroma) / kg,
  };
}

/** Shares of red and blue in the luma (ITU-R BT.601, BT.709, BT.2020). */
const KR_KB = { bt601: [0.299, 0.114], bt709: [0.2126, 0.0722], bt2020: [0.2627, 0.0593] } as const;

const FRACTION = 16;
/** Sums of luma and chroma lie between −OFFSET and 1024 + OFFSET: shifted, they are an index. */
const OFFSET = 512;
const SUMS = 2_048;

interface Tables {
  luma: Int32Array;
  rv: Int32Array;
  gu: Int32Array;
  gv: Int32Array;
  bu: Int32Array;
}

const tablesByColour = new Map<string, Tables>();

function tablesOf(colour: Colour): Tables {
  const name = `${colour.matrix} ${colour.range}`;
  let tables = tablesByColour.get(name);
  if (!tables) {
    const f = factors(colour);
    const table = (value: (byte: number) => number) =>
      Int32Array.from({ length: 256 }, (_, byte) => Math.round(value(byte) * 2 ** FRACTION));
    tables = {
      luma: table((y) => (y - f.offset) * f.luma + OFFSET + 0.5),
      rv: table((v) => (v - 128) * f.rv),
      gu: table((u) => (u - 128) * f.gu),
      gv: table((v) => (v - 128) * f.gv),
      bu: table((u) => (u - 128) * f.bu),
    };
    tablesByColour.set(name, tables);
  }
  return tables;
}

/** What a sum means: cut to 0…255, then to 0…valueRange. */
const valuesOfSums = (valueRange: 1 | 255) =>
  Float32Array.from({ length: SUMS }, (_, sum) => (Math.min(255, Math.max(0, sum - OFFSET)) * valueRange) / 255);
const UNIT_VALUES = valuesOfSums(1);
const BYTE_VALUES = valuesOfSums(255);
const BYTES = Uint8Array.from(BYTE_VALUES);

/** Grey around the frame, of 255: what the YOLO family was trained with. */
const PADDING = 114;

/** A tensor of three planes, grey where the frame does not reach. `writeTensor` fills the rest, again and again. */
export function blankTensor(box: Letterbox, valueRange: 1 | 255): Float32Array {
  return new Float32Array(3 * box.width * box.height).fill((PADDING * valueRange) / 255);
}

/** Writes the scaled frame into the tensor: three planes in the model's order, values 0 to `valueRange`. */
export function writeTensor(picture: Picture, channels: "rgb" | "bgr", valueRange: 1 | 255, tensor: Float32Array) {
  const { stride, rows, box, colour } = picture.layout;
  const { luma, rv, gu, gv, bu } = tablesOf(colour);
  const values = valueRange === 1 ? UNIT_VALUES : BYTE_VALUES;
  const bytes = new Uint8Array(picture.data);
  const halfStride = stride >> 1;
  const uPlane = stride * rows;
  const vPlane = uPlane + halfStride * (rows >> 1);
  const plane = box.width * box.height;
  const first = channels === "rgb" ? 0 : 2 * plane;
  const third = 2 * plane - first;
  let below = box.top * box.width + box.left;
  for (const { left, top, width, height } of scaledRegions(picture.layout)) {
    for (let y = 0; y < height; y += 2) {
      const chroma = ((top + y) >> 1) * halfStride + (left >> 1);
      let from = (top + y) * stride + left;
      let to = below + y * box.width;
      for (let x = 0; x < width >> 1; x += 1) {
        const u = bytes[uPlane + chroma + x] as number;
        const v = bytes[vPlane + chroma + x] as number;
        const red = rv[v] as number;
        const green = (gu[u] as number) + (gv[v] as number);
        const blue = bu[u] as number;
        for (let line = 0; line < 2; line += 1) {
          const at = to + line * box.width;
          const light = luma[bytes[from + line * stride] as number] as number;
          const next = luma[bytes[from + line * stride + 1] as number] as number;
          tensor[first + at] = values[(light + red) >> FRACTION] as number;
          tensor[first + at + 1] = values[(next + red) >> FRACTION] as number;
          tensor[plane + at] = values[(light + green) >> FRACTION] as number;
          tensor[plane + at + 1] = values[(next + green) >> FRACTION] as number;
          tensor[third + at] = values[(light + blue) >> FRACTION] as number;
          tensor[third + at + 1] = values[(next + blue) >> FRACTION] as number;
        }
        from += 2;
        to += 2;
      }
    }
    below += height * box.width;
  }
}

export const rgbBytes = (regions: readonly Region[]) => regions.reduce((sum, r) => sum + r.width * r.height * 3, 0);

/** Writes the regions as packed RGB, three bytes a pixel, one below the other: what the JPEG encoder takes. */
export function writeRgb(picture: Picture, regions: readonly Region[], out: Uint8Array): void {
  const { stride, rows, colour } = picture.layout;
  const { luma, rv, gu, gv, bu } = tablesOf(colour);
  const bytes = new Uint8Array(picture.data);
  const halfStride = stride >> 1;
  const uPlane = stride * rows;
  const vPlane = uPlane + halfStride * (rows >> 1);
  let to = 0;
  for (const region of regions) {
    const right = region.left + region.width;
    for (let y = region.top; y < region.top + region.height; y += 1) {
      const chroma = (y >> 1) * halfStride;
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let x = region.left; x < right; x += 1) {
        if ((x & 1) === 0 || x === region.left) {
          const u = bytes[uPlane + chroma + (x >> 1)] as number;
          const v = bytes[vPlane + chroma + (x >> 1)] as number;
          red = rv[v] as number;
          green = (gu[u] as number) + (gv[v] as number);
          blue = bu[u] as number;
        }
        const light = luma[bytes[y * stride + x] as number] as number;
        out[to] = BYTES[(light + red) >> FRACTION] as number;
        out[to + 1] = BYTES[(light + green) >> FRACTION] as number;
        out[to + 2] = BYTES[(light + blue) >> FRACTION] as number;
        to += 3;
      }
    }
  }
}
