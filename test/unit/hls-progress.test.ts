import { expect, test } from "vitest";
import { HlsProgress } from "../../src/detector/hls-progress.ts";

const asked = (url: string, playlist: number) =>
  `[hls @ 0x5626c9075bc0] HLS request for url '${url}', offset 0, playlist ${playlist}`;

function movedAfter(...lines: string[]): boolean {
  const progress = new HlsProgress();
  for (const line of lines) progress.logLine(line);
  return progress.moved;
}

test("a playlist lives when it brings a second segment; another playlist's first one proves nothing", () => {
  const once = asked("http://cam/7.ts?token='a', offset 1", 0);
  expect(movedAfter()).toBe(false);
  expect(movedAfter(once)).toBe(false);
  expect(movedAfter(once, once)).toBe(false); // tried again
  expect(movedAfter(once, asked("http://cam/audio/7.ts", 1))).toBe(false);
  expect(movedAfter(once, "[hls @ 0x5] Opening 'http://cam/8.ts' for reading")).toBe(false);
  expect(movedAfter(once, asked("http://cam/8.ts", 0))).toBe(true);
});
