/**
 * The set of real crops that a camera load draws from: cut once from footage by whoever knows how (a detector), then
 * kept in the cache as one JSON file.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import type { Context } from "../context.ts";
import { Bbox, DetectedObject, GroupFeatures } from "../messages.ts";
import type { LoadCrop } from "./camera-load.ts";

/** So many groups are variety enough, and small enough to keep in memory. */
export const CROP_SET_SIZE = 40;

const CropSet = z.object({
  version: z.literal(1),
  crops: z
    .array(
      z.object({
        jpegBase64: z.base64(),
        objects: z.array(DetectedObject),
        bbox: Bbox,
        classes: z.array(z.string()),
        features: GroupFeatures.nullable(),
        imageWidth: z.number(),
        imageHeight: z.number(),
      }),
    )
    .min(1),
});

/** The cached set; where there is none, or one that cannot be read, `cut` makes it (at most CROP_SET_SIZE are kept). */
export async function ensureCropSet(
  cache: string,
  cut: () => Promise<LoadCrop[]>,
  { log }: Context,
): Promise<LoadCrop[]> {
  const path = join(cache, "load", "crops.json");
  const kept = await readCropSet(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT")
      log.warn({ path, cause: error.message.slice(0, 200) }, "the cached crops cannot be read and are cut anew");
    return undefined;
  });
  if (kept) return kept;
  const crops = (await cut()).slice(0, CROP_SET_SIZE);
  if (crops.length === 0) throw new RangeError("no group of road users was found to cut crops from");
  await writeCropSet(path, crops);
  return crops;
}

async function readCropSet(path: string): Promise<LoadCrop[]> {
  const { crops } = CropSet.parse(JSON.parse(await readFile(path, "utf8")));
  return crops.map(({ jpegBase64, ...crop }) => ({ ...crop, jpeg: Buffer.from(jpegBase64, "base64") }));
}

/** Whole or not at all: two that start at once write the same. */
async function writeCropSet(path: string, crops: readonly LoadCrop[]): Promise<void> {
  const set = {
    version: 1,
    crops: crops.map(({ jpeg, ...crop }) => ({ ...crop, jpegBase64: jpeg.toString("base64") })),
  };
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, JSON.stringify(set));
  await rename(temporary, path);
}
