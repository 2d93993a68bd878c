/** Crops and previews as JPEG, by sharp: from the native frame, and from the scaled one. */
import sharp from "sharp";
import type { Bbox } from "../messages.ts";
import { type Picture, type Region, scaledRegions } from "./picture.ts";
import { rgbBytes, writeRgb } from "./pixels.ts";

// Inference has the cores; a second thread for one small picture only takes turns with it.
sharp.concurrency(1);
sharp.cache(false);

/** Pixels around a group's boxes that its crop shows as well. */
export const CROP_MARGIN_PX = 12;
const CROP_QUALITY = 90;
const PREVIEW_QUALITY = 70;

/** The crop's place in the frame: with margin, cut at the edges, truncated; null when nothing of it is inside. */
export function cropRegion(bbox: Bbox, frame: { width: number; height: number }): Region | null {
  const left = Math.trunc(Math.max(0, bbox[0] - CROP_MARGIN_PX));
  const top = Math.trunc(Math.max(0, bbox[1] - CROP_MARGIN_PX));
  const right = Math.trunc(Math.min(frame.width, bbox[2] + CROP_MARGIN_PX));
  const bottom = Math.trunc(Math.min(frame.height, bbox[3] + CROP_MARGIN_PX));
  if (!(right > left && bottom > top)) return null;
  return { left, top, width: right - left, height: bottom - top };
}

/** JPEG of the group; null when its crop is empty. The picture is read before the first await. */
export async function cropGroup(picture: Picture, bbox: Bbox): Promise<Buffer | null> {
  const region = cropRegion(bbox, picture.layout);
  return region && encode(picture, [region], CROP_QUALITY);
}

/** JPEG of the whole frame, as wide as the model's input. The picture is read before the first await. */
export function previewOf(picture: Picture): Promise<Buffer> {
  return encode(picture, scaledRegions(picture.layout), PREVIEW_QUALITY);
}

/** The regions lie one below the other in the JPEG; all of one width. */
async function encode(picture: Picture, regions: readonly Region[], quality: number): Promise<Buffer> {
  const width = regions[0]?.width ?? 0;
  const height = regions.reduce((sum, region) => sum + region.height, 0);
  const memory = takeMemory(rgbBytes(regions));
  writeRgb(picture, regions, memory);
  try {
    return await sharp(memory.subarray(0, rgbBytes(regions)), { raw: { width, height, channels: 3 } })
      .jpeg({ quality, optimiseCoding: false }) // half the time, for 2% more bytes
      .toBuffer();
  } finally {
    if (free.length < MOST_FREE) free.push(memory);
  }
}

/** Packed pixels on their way to the encoder, used again and again: new ones would be a megabyte a look. */
const free: Buffer[] = [];
const MOST_FREE = 8;
const MEMORY_STEP = 1 << 20;

function takeMemory(bytes: number): Buffer {
  const fits = free.findIndex((memory) => memory.length >= bytes);
  const [memory] = fits < 0 ? [] : free.splice(fits, 1);
  if (!memory && free.length === MOST_FREE) free.shift(); // too small, as it seems
  return memory ?? Buffer.allocUnsafeSlow(Math.ceil(bytes / MEMORY_STEP) * MEMORY_STEP);
}
