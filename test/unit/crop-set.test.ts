import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Context, systemClock } from "../../src/context.ts";
import type { LoadCrop } from "../../src/simulator/camera-load.ts";
import { CROP_SET_SIZE, ensureCropSet } from "../../src/simulator/crop-set.ts";

const context: Context = { clock: systemClock, log: pino({ level: "silent" }) };
const crop = (n: number): LoadCrop => ({
  jpeg: Buffer.from([0xff, 0xd8, n]),
  objects: [{ class: "person", confidence: 0.5, bbox: [n, 0, n + 1, 2], trackId: n }],
  bbox: [n, 0, n + 1, 2],
  classes: ["person"],
  features: null,
  imageWidth: 768,
  imageHeight: 576,
});

let cache = "";
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), "vigilane-crops-"));
});
afterEach(() => rmSync(cache, { recursive: true, force: true }));

test("crops are cut once, then come from the cache, byte for byte", async () => {
  let cuts = 0;
  const cut = async () => {
    cuts += 1;
    return Array.from({ length: CROP_SET_SIZE + 7 }, (_, n) => crop(n));
  };
  const first = await ensureCropSet(cache, cut, context);
  expect(first).toHaveLength(CROP_SET_SIZE);
  expect(await ensureCropSet(cache, cut, context)).toEqual(first);
  expect(cuts).toBe(1);
});

test("a broken set is cut anew", async () => {
  await ensureCropSet(cache, async () => [crop(1)], context);
  const [file = ""] = readdirSync(join(cache, "load"));
  writeFileSync(join(cache, "load", file), '{"version":1,"crops":[{"jpegBa');
  expect(await ensureCropSet(cache, async () => [crop(2)], context)).toEqual([crop(2)]);
});

test("nothing to cut is an error, not an empty set", async () => {
  await expect(ensureCropSet(cache, async () => [], context)).rejects.toThrow("no group");
});
