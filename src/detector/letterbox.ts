/**
 * How a frame is fitted into a model's input: scaled, centred, grey around it. The scaling itself is ffmpeg's work; here
 * are its numbers, and the way back for boxes.
 */
import type { Bbox } from "../messages.ts";

/** A frame of `frameWidth`×`frameHeight` inside an input of `width`×`height`; all px, all whole and even. */
export interface Letterbox {
  width: number;
  height: number;
  frameWidth: number;
  frameHeight: number;
  /** Size of the scaled frame, and where it begins. Even, so that chroma planes of half the size fit. */
  contentWidth: number;
  contentHeight: number;
  left: number;
  top: number;
}

/** What a model takes: fixed axes, or open ones (any multiple of 32) with the longer side to use. */
export type InputSize = { kind: "fixed"; width: number; height: number } | { kind: "open"; longSidePx: number };

const STRIDE = 32;

/** Size of the input for frames of this shape. Open axes: the short side is as short as it can be (16:9 at 640: 640×384). */
export function inputSizeFor(size: InputSize, frameWidth: number, frameHeight: number) {
  if (size.kind === "fixed") return { width: size.width, height: size.height };
  const long = size.longSidePx;
  const upToStride = (px: number) => Math.min(long, Math.max(STRIDE, Math.ceil(px / STRIDE) * STRIDE));
  return frameWidth >= frameHeight
    ? { width: long, height: upToStride((long * frameHeight) / frameWidth) }
    : { width: upToStride((long * frameWidth) / frameHeight), height: long };
}

export function letterbox(size: InputSize, frameWidth: number, frameHeight: number): Letterbox {
  const { width, height } = inputSizeFor(size, frameWidth, frameHeight);
  const scale = Math.min(width / frameWidth, height / frameHeight);
  const even = (px: number, limit: number) => Math.max(2, Math.min(limit, Math.round(px / 2) * 2));
  const contentWidth = even(frameWidth * scale, width);
  const contentHeight = even(frameHeight * scale, height);
  const halfEven = (px: number) => Math.floor(px / 4) * 2;
  return {
    width,
    height,
    frameWidth,
    frameHeight,
    contentWidth,
    contentHeight,
    left: halfEven(width - contentWidth),
    top: halfEven(height - contentHeight),
  };
}

/** A box of the input, in pixels of the frame, cut at its edges. */
export function toFrame(box: Letterbox, [x1, y1, x2, y2]: Bbox): Bbox {
  const x = (px: number) =>
    Math.min(box.frameWidth, Math.max(0, ((px - box.left) * box.frameWidth) / box.contentWidth));
  const y = (px: number) =>
    Math.min(box.frameHeight, Math.max(0, ((px - box.top) * box.frameHeight) / box.contentHeight));
  return [x(x1), y(y1), x(x2), y(y2)];
}
