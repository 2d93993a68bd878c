/** What every adapter of the ImageStore contract must show (src/images/image-store.ts). */
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/context.ts";
import { IMAGE_REFERENCE, type ImageStore } from "../../src/images/image-store.ts";
import { stressStartStop } from "../support/service-stress.ts";

export interface ImageStoreFixture {
  /** An empty store, started, stopped at the test's end. `clock`: real by default. */
  open(clock?: Clock): Promise<ImageStore>;
  /** Another process' view of the store opened last. */
  openAgain(): Promise<ImageStore>;
  /** Not started. */
  create(): ImageStore;
}

const jpeg = (bytes = 100) => Buffer.alloc(bytes, 0xd8);
const HOUR_MS = 3_600_000;

export function imageStoreConformance(name: string, fixture: ImageStoreFixture): void {
  describe(`${name} keeps the contract of the image store`, () => {
    test("an image comes back as it was put, in this process and in others, under a reference of our spelling", async () => {
      const store = await fixture.open();
      const bytes = Buffer.from([0xff, 0xd8, 0x00, 0x0a, 0xff, 0xd9]);
      const reference = await store.put("north-gate", "m1_group1", bytes);
      expect(reference).toMatch(IMAGE_REFERENCE);
      expect(await store.get(reference)).toEqual(bytes);
      expect(await (await fixture.openAgain()).get(reference)).toEqual(bytes);
    });

    test("any camera and any name have a place of their own", async () => {
      const store = await fixture.open();
      const text = fc.oneof(
        fc.string({ unit: "binary", maxLength: 250 }),
        fc.constantFrom("..", ".", "../../x", "a/b", "a-b", "", "x.jpg", "a\0b"),
      );
      const seen = new Map<string, string>();
      await fc.assert(
        fc.asyncProperty(text, text, async (camera, image) => {
          const of = JSON.stringify([camera, image.replace(/\.jpg$/i, "")]);
          const bytes = Buffer.from(of);
          const reference = await store.put(camera, image, bytes);
          expect(reference).toMatch(IMAGE_REFERENCE);
          expect(seen.get(reference) ?? of).toBe(of);
          seen.set(reference, of);
          expect(await store.get(reference)).toEqual(bytes);
        }),
        { numRuns: 150 },
      );
    });

    test("long names that differ only at their ends are different images", async () => {
      const store = await fixture.open();
      const long = "m".repeat(200);
      const [one, two] = [
        await store.put("c", `${long}_group1`, jpeg(1)),
        await store.put("c", `${long}_group2`, jpeg(2)),
      ];
      expect([(await store.get(one)).length, (await store.get(two)).length]).toEqual([1, 2]);
    });

    test("putting the same image again overwrites it, also after the turn of the hour", async () => {
      const clock = steppedClock(Date.UTC(2026, 4, 1, 11, 59, 59));
      const store = await fixture.open(clock);
      const first = await store.put("c", "m1_group1", jpeg(10));
      clock.step(2_000);
      const second = await store.put("c", "m1_group1", jpeg(20));
      expect(second).toBe(first);
      expect(await store.get(first)).toHaveLength(20);
    });

    test("whoever reads while the same image is written again and again sees one whole image", async () => {
      const store = await fixture.open();
      const reference = await store.put("c", "m", Buffer.alloc(300_000, 0));
      let writing = true;
      const writer = (async () => {
        for (let n = 1; n <= 40; n += 1) await store.put("c", "m", Buffer.alloc(300_000, n));
        writing = false;
      })();
      let reads = 0;
      for (; writing; reads += 1) {
        const bytes = await store.get(reference);
        expect(bytes.length).toBe(300_000);
        expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
      }
      await writer;
      expect(reads).toBeGreaterThan(0);
    });

    test("an image that was removed, or was never there, is gone", async () => {
      const store = await fixture.open();
      const reference = await store.put("c", "m", jpeg());
      expect(await store.has(reference)).toBe(true);
      await store.remove([reference, reference]);
      expect(await store.has(reference)).toBe(false);
      await expect(store.get(reference)).rejects.toMatchObject({ code: "IMAGE_GONE" });
      await expect(store.get(`vigilane:images/c/2026010100/${randomUUID()}.jpg`)).rejects.toMatchObject({
        code: "IMAGE_GONE",
      });
    });

    test.each([
      "https://example.org/x.jpg",
      "/etc/passwd",
      "file:///etc/passwd",
      "vigilane:other/c/2026010100/x.jpg",
      "vigilane:images/../2026010100/x.jpg",
      "vigilane:images/./2026010100/x.jpg",
      "vigilane:images/c/2026010100/../../../x.jpg",
      "vigilane:images/c/2026010100/x.png",
      "vigilane:images/c/2026010100/x.jpg\n",
      "vigilane:images/c/2026010100/x\0.jpg",
      "",
    ])("%j is not ours, and nothing is read", async (reference) => {
      const store = await fixture.open();
      await expect(store.get(reference)).rejects.toMatchObject({ code: "IMAGE_FOREIGN" });
      await expect(store.has(reference)).rejects.toMatchObject({ code: "IMAGE_FOREIGN" });
      await expect(store.remove([reference])).rejects.toMatchObject({ code: "IMAGE_FOREIGN" });
    });

    test("sweeping takes what is too old, then the oldest until the bytes fit", async () => {
      const clock = steppedClock(Date.now());
      const store = await fixture.open(clock);
      const references: string[] = [];
      for (let n = 0; n < 5; n += 1) {
        references.push(await store.put("c", `m${n}`, jpeg(1_000)));
        clock.step(10);
      }
      expect(await store.sweep({ maxAgeMs: HOUR_MS, maxBytes: 10_000 })).toEqual({ removed: 0, bytes: 5_000 });
      expect(await store.sweep({ maxAgeMs: HOUR_MS, maxBytes: 3_500 })).toEqual({ removed: 2, bytes: 3_000 });
      expect(await Promise.all(references.map((reference) => store.has(reference)))).toEqual([
        false,
        false,
        true,
        true,
        true,
      ]);
      clock.step(2 * HOUR_MS);
      expect(await store.sweep({ maxAgeMs: HOUR_MS, maxBytes: 10_000 })).toEqual({ removed: 3, bytes: 0 });
      // Everything still works where it was swept clean.
      const after = await store.put("c", "m9", jpeg());
      expect(await store.has(after)).toBe(true);
    });

    test("sweeping and writing at once lose nothing that is young", async () => {
      const store = await fixture.open();
      const sweeping = (async () => {
        for (let n = 0; n < 30; n += 1) await store.sweep({ maxAgeMs: HOUR_MS, maxBytes: 1e9 });
      })();
      const references = await Promise.all(
        Array.from({ length: 200 }, (_, n) => store.put(`camera-${n % 9}`, `m${n}`, jpeg())),
      );
      await sweeping;
      expect(await Promise.all(references.map((reference) => store.has(reference)))).not.toContain(false);
    });

    test("starts and stops in any order", async () => {
      await stressStartStop(() => fixture.create());
    });
  });
}

/** A wall clock that moves only when told to. */
function steppedClock(nowMs: number): Clock & { step(ms: number): void } {
  let now = nowMs;
  return {
    nowMs: () => now,
    monotonicMs: () => performance.now(),
    sleep: async () => {},
    step: (ms) => {
      now += ms;
    },
  };
}
