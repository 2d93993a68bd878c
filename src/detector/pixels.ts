/**
 * YUV to RGB: for the model's tensor, and for the JPEG encoder. Every look goes through here, so it is written for speed:
 * tables of fixed-point numbers (16 bits of fraction) instead of products, one chroma sample for a block of four pixels.
 */
import type { Letterbox } from "./letterbox.ts";
import type { Colour, Picture, Region } from "./picture.ts";

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

/** Grey around the frame, of 255: what the YOLO family was trained with. */
const PADDING = 114;

/** A tensor of three planes, grey where the frame does not reach. `writeTensor` fills the rest, again and again. */
export function blankTensor(box: Letterbox, valueRange: 1 | 255): Float32Array {
  return new Float32Array(3 * box.width * box.height).fill((PADDING * valueRange) / 255);
}

/** Writes the scaled frame into the tensor: three planes in the model's order, values 0 to `valueRange`. */
export function writeTensor(picture: Picture, channels: "rgb" | "bgr", valueRange: 1 | 255, tensor: Float32Array) {
  const { stride, rows, height, box, colour } = picture.layout;
  const { luma, rv, gu, gv, bu } = tablesOf(colour);
  const values = valueRange === 1 ? UNIT_VALUES : BYTE_VALUES;
  const bytes = new Uint8Array(picture.data);
  const halfStride = stride >> 1;
  const uPlane = stride * rows;
  const vPlane = uPlane + halfStride * (rows >> 1);
  const plane = box.width * box.height;
  const first = channels === "rgb" ? 0 : 2 * plane;
  const third = 2 * plane - first;
  for (let y = 0; y < box.contentHeight; y += 2) {
    const chroma = ((height + y) >> 1) * halfStride;
    for (let line = 0; line < 2; line += 1) {
      let from = (height + y + line) * stride;
      let to = (box.top + y + line) * box.width + box.left;
      for (let x = 0; x < box.contentWidth >> 1; x += 1) {
        const u = bytes[uPlane + chroma + x] as number;
        const v = bytes[vPlane + chroma + x] as number;
        const red = rv[v] as number;
        const green = (gu[u] as number) + (gv[v] as number);
        const blue = bu[u] as number;
        const left = luma[bytes[from] as number] as number;
        const right = luma[bytes[from + 1] as number] as number;
        tensor[first + to] = values[(left + red) >> FRACTION] as number;
        tensor[first + to + 1] = values[(right + red) >> FRACTION] as number;
        tensor[plane + to] = values[(left + green) >> FRACTION] as number;
        tensor[plane + to + 1] = values[(right + green) >> FRACTION] as number;
        tensor[third + to] = values[(left + blue) >> FRACTION] as number;
        tensor[third + to + 1] = values[(right + blue) >> FRACTION] as number;
        from += 2;
        to += 2;
      }
    }
  }
}

/** The region as packed RGB, three bytes a pixel: what the JPEG encoder takes. */
export function regionToRgb(picture: Picture, region: Region): Buffer {
  const { stride, rows, colour } = picture.layout;
  const { luma, rv, gu, gv, bu } = tablesOf(colour);
  const bytes = new Uint8Array(picture.data);
  const halfStride = stride >> 1;
  const uPlane = stride * rows;
  const vPlane = uPlane + halfStride * (rows >> 1);
  const out = Buffer.allocUnsafe(region.width * region.height * 3);
  let to = 0;
  for (let y = region.top; y < region.top + region.height; y += 1) {
    const chroma = (y >> 1) * halfStride;
    for (let x = region.left; x < region.left + region.width; x += 1) {
      const light = luma[bytes[y * stride + x] as number] as number;
      const u = bytes[uPlane + chroma + (x >> 1)] as number;
      const v = bytes[vPlane + chroma + (x >> 1)] as number;
      out[to] = BYTE_VALUES[(light + (rv[v] as number)) >> FRACTION] as number;
      out[to + 1] = BYTE_VALUES[(light + (gu[u] as number) + (gv[v] as number)) >> FRACTION] as number;
      out[to + 2] = BYTE_VALUES[(light + (bu[u] as number)) >> FRACTION] as number;
      to += 3;
    }
  }
  return out;
}
