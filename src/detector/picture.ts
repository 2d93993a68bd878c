/**
 * One frame as ffmpeg hands it over: planar YUV 4:2:0, the native frame above, the same frame scaled for the model below
 * it. One buffer, so that the two can never get out of step; shared memory, so that an inference thread reads it in place.
 *
 *      ┌──────────────────────┐
 *      │ native frame         │ height    the Y plane; the U and V planes follow it,
 *      ├────────┬─────────────┤           the same at half the size
 *      │ scaled │   unused    │ contentHeight
 *      └────────┴─────────────┘
 */
import type { Letterbox } from "./letterbox.ts";

/** How the source's YUV maps to RGB. bt601 limited: what decoders assume when a stream says nothing. */
export interface Colour {
  matrix: "bt601" | "bt709" | "bt2020";
  /** Y from 16 to 235 (limited) or from 0 to 255 (full). */
  range: "limited" | "full";
}

/** Where things lie in the buffer. Plain data: it goes to the inference threads. */
export interface PictureLayout {
  /** Size of the native frame, px, even. */
  width: number;
  height: number;
  /** Bytes of one row of Y; a row of U or V has half as many. */
  stride: number;
  /** Rows of Y, native and scaled together. */
  rows: number;
  box: Letterbox;
  colour: Colour;
}

export interface Picture {
  layout: PictureLayout;
  data: SharedArrayBuffer;
}

export function pictureLayout(box: Letterbox, colour: Colour): PictureLayout {
  const { frameWidth: width, frameHeight: height } = box;
  return { width, height, stride: Math.max(width, box.contentWidth), rows: height + box.contentHeight, box, colour };
}

export const pictureBytes = ({ stride, rows }: PictureLayout) => stride * rows * 1.5;

/** Factors of r = y·luma + (v−128)·rv and so on, for y after the offset is taken off. */
export function factors({ matrix, range }: Colour) {
  const [kr, kb] = { bt601: [0.299, 0.114], bt709: [0.2126, 0.0722], bt2020: [0.2627, 0.0593] }[matrix] as [
    number,
    number,
  ];
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

/** A rectangle of the picture's pixels, px of the picture (native frame from row 0, scaled one from row `height`). */
export interface Region {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** The region as packed RGB, three bytes a pixel: what the JPEG encoder takes. */
export function regionToRgb(picture: Picture, region: Region): Buffer {
  const { stride, rows, colour } = picture.layout;
  const { offset, luma, rv, bu, gu, gv } = factors(colour);
  const bytes = new Uint8Array(picture.data);
  const uStart = stride * rows;
  const vStart = uStart + (stride >> 1) * (rows >> 1);
  const out = new Uint8ClampedArray(region.width * region.height * 3);
  let at = 0;
  for (let y = region.top; y < region.top + region.height; y += 1) {
    const chromaRow = (y >> 1) * (stride >> 1);
    for (let x = region.left; x < region.left + region.width; x += 1) {
      const light = ((bytes[y * stride + x] ?? 0) - offset) * luma;
      const u = (bytes[uStart + chromaRow + (x >> 1)] ?? 0) - 128;
      const v = (bytes[vStart + chromaRow + (x >> 1)] ?? 0) - 128;
      out[at] = light + rv * v;
      out[at + 1] = light + gu * u + gv * v;
      out[at + 2] = light + bu * u;
      at += 3;
    }
  }
  return Buffer.from(out.buffer);
}

/** The scaled frame's place in the picture: what the preview shows. */
export function scaledRegion({ height, box }: PictureLayout): Region {
  return { left: 0, top: height, width: box.contentWidth, height: box.contentHeight };
}

/** Grey around the frame, of 255: what the YOLO family was trained with. */
const PADDING = 114;

/** A tensor of three planes, grey where the frame does not reach. `writeTensor` fills the rest, again and again. */
export function blankTensor(box: Letterbox, valueRange: 1 | 255): Float32Array {
  return new Float32Array(3 * box.width * box.height).fill(valueRange === 1 ? PADDING / 255 : PADDING);
}

/**
 * Writes the scaled frame into the tensor (three planes, channels in the model's order, values 0 to `valueRange`). Two
 * rows and two columns share one chroma sample: a block of four pixels a turn.
 */
export function writeTensor(picture: Picture, channels: "rgb" | "bgr", valueRange: 1 | 255, tensor: Float32Array) {
  const { stride, rows, height, box, colour } = picture.layout;
  const f = factors(colour);
  const top = valueRange;
  const unit = valueRange / 255;
  const [luma, rv, bu, gu, gv] = [f.luma * unit, f.rv * unit, f.bu * unit, f.gu * unit, f.gv * unit];
  const lumaBias = -f.offset * luma;
  const bytes = new Uint8Array(picture.data);
  const halfStride = stride >> 1;
  const uStart = stride * rows;
  const vStart = uStart + halfStride * (rows >> 1);
  const plane = box.width * box.height;
  const redPlane = channels === "rgb" ? 0 : 2 * plane;
  const bluePlane = 2 * plane - redPlane;
  for (let y = 0; y < box.contentHeight; y += 2) {
    const lumaRow = (height + y) * stride;
    const chromaRow = ((height + y) >> 1) * halfStride;
    const outRow = (box.top + y) * box.width + box.left;
    for (let x = 0; x < box.contentWidth; x += 2) {
      const u = (bytes[uStart + chromaRow + (x >> 1)] as number) - 128;
      const v = (bytes[vStart + chromaRow + (x >> 1)] as number) - 128;
      const red = lumaBias + rv * v;
      const green = lumaBias + gu * u + gv * v;
      const blue = lumaBias + bu * u;
      for (let corner = 0; corner < 4; corner += 1) {
        const dx = corner & 1;
        const dy = corner >> 1;
        const light = (bytes[lumaRow + dy * stride + x + dx] as number) * luma;
        const out = outRow + dy * box.width + x + dx;
        const r = light + red;
        const g = light + green;
        const b = light + blue;
        tensor[redPlane + out] = Math.max(0, Math.min(top, r));
        tensor[plane + out] = Math.max(0, Math.min(top, g));
        tensor[bluePlane + out] = Math.max(0, Math.min(top, b));
      }
    }
  }
}
