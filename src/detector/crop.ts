/** Crops and previews as JPEG, by sharp: from the native frame, and from the scaled one. */
import sharp from "sharp";
import type { Bbox } from "../messages.ts";
import { type Picture, type Region, scaledRegion } from "./picture.ts";
import { regionToRgb } from "./pixels.ts";

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
  return region && encode(picture, region, CROP_QUALITY);
}

/** JPEG of the whole frame, as wide as the model's input. The picture is read before the first await. */
export function previewOf(picture: Picture): Promise<Buffer> {
  return encode(picture, scaledRegion(picture.layout), PREVIEW_QUALITY);
}

function encode(picture: Picture, region: Region, quality: number): Promise<Buffer> {
  const { width, height } = region;
  return sharp(regionToRgb(picture, region), { raw: { width, height, channels: 3 } })
    .jpeg({ quality, optimiseCoding: false }) // half the time, for 2% more bytes
    .toBuffer();
}
