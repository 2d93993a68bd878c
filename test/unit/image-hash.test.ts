import sharp from "sharp";
import { expect, test } from "vitest";
import { imageHash } from "../../src/detector/image-hash.ts";

/** A grey ramp with a dark square at x. */
async function picture(squareX: number, quality = 90): Promise<Buffer> {
  const ramp = Buffer.from(Array.from({ length: 90 * 80 }, (_, i) => 60 + (i % 90)));
  const square = await sharp({ create: { width: 30, height: 40, channels: 3, background: "#000" } })
    .png()
    .toBuffer();
  const base = await sharp(ramp, { raw: { width: 90, height: 80, channels: 1 } })
    .toColourspace("srgb")
    .png()
    .toBuffer();
  return await sharp(base)
    .composite([{ input: square, left: squareX, top: 20 }])
    .jpeg({ quality })
    .toBuffer();
}

const bitsApart = (a: string, b: string) =>
  [...(BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(2)].filter((bit) => bit === "1").length;

test("near-equal pictures have near-equal hashes, others do not", async () => {
  const [one, again, moved] = await Promise.all(
    [picture(10), picture(10, 60), picture(50)].map(async (p) => imageHash(await p)),
  );
  expect(one).toMatch(/^[0-9a-f]{16}$/);
  expect(bitsApart(one ?? "", again ?? "")).toBeLessThanOrEqual(2);
  expect(bitsApart(one ?? "", moved ?? "")).toBeGreaterThan(6);
});
