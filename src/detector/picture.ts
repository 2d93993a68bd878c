/**
 * One frame as ffmpeg hands it over: planar YUV 4:2:0, the native frame above, the same frame scaled for the model below
 * it, cut into bands that lie side by side, so that next to nothing of the picture's width is unused. One buffer, so that
 * the two can never get out of step; shared memory, so that an inference thread reads it in place.
 *
 *      ┌──────────────────────┐
 *      │ native frame         │ height    the Y plane; the U and V planes follow it,
 *      ├──────┬──────┬──────┬─┤           the same at half the size
 *      │ top  │middle│bottom│ │ bandRows
 *      └──────┴──────┴──────┴─┘
 *        contentWidth each
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
  /** Bands of the scaled frame, and the rows of Y of each; even. The last one may be filled up with black. */
  bands: number;
  bandRows: number;
  box: Letterbox;
  colour: Colour;
}

export interface Picture {
  layout: PictureLayout;
  data: SharedArrayBuffer;
}

export function pictureLayout(box: Letterbox, colour: Colour): PictureLayout {
  const { frameWidth: width, frameHeight: height, contentWidth, contentHeight } = box;
  const stride = Math.max(width, contentWidth);
  const bandRows = 2 * Math.ceil(contentHeight / Math.floor(stride / contentWidth) / 2);
  const bands = Math.ceil(contentHeight / bandRows);
  return { width, height, stride, rows: height + bandRows, bands, bandRows, box, colour };
}

export const pictureBytes = ({ stride, rows }: PictureLayout) => stride * rows * 1.5;

/** A rectangle of the picture's pixels, px of the picture (native frame from row 0, bands from row `height`). */
export interface Region {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Where the scaled frame lies: its bands from top to bottom. */
export function scaledRegions({ height, bands, bandRows, box }: PictureLayout): Region[] {
  return Array.from({ length: bands }, (_, band) => ({
    left: band * box.contentWidth,
    top: height,
    width: box.contentWidth,
    height: Math.min(bandRows, box.contentHeight - band * bandRows),
  }));
}
