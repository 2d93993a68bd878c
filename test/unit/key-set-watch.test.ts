/** The keys' file of a running role: what of a change is refused, and what is said of one. */
import { mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createLogger, systemClock } from "../../src/context.ts";
import { memoryFile } from "../../src/keys/key-memory.ts";
import { createKeySetWatch, type SaidElsewhere } from "../../src/keys/key-set-watch.ts";
import type { KeySet } from "../../src/keys/load-key-set.ts";
import { Settings } from "../../src/settings.ts";

interface Line {
  level: number;
  msg: string;
  why?: string;
}

/** A watch that follows `text`'s file; `line` resolves with the next line of the log of which `is` is true. */
async function watching(text: string, elsewhere?: SaidElsewhere) {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-watch-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "keys.yaml");
  writeFileSync(file, text);
  const lines: Line[] = [];
  let heard = () => {};
  const log = createLogger("test", "debug", {
    write: (written: string) => {
      lines.push(JSON.parse(written));
      heard();
    },
  });
  const settings: Settings = { ...Settings.parse({ callsPerDay: 0 }), data: folder, keys: file };
  const watch = createKeySetWatch(settings, { clock: systemClock, log }, elsewhere);
  const stop = new AbortController();
  await watch.load();
  const sets: KeySet[] = [];
  const following = watch.follow(async (set) => void sets.push(set), stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await following;
  });
  async function line(is: (line: Line) => boolean): Promise<Line> {
    for (;;) {
      const found = lines.find(is);
      if (found) return found;
      await new Promise<void>((resolve) => (heard = resolve));
    }
  }
  return { folder, watch, lines, line, sets, write: (next: string) => writeFileSync(file, next) };
}

const older = (more = "") => `keys: [{ id: a, api_key: sk-one${more} }]\n`;
const refused = ({ msg }: Line) => msg.includes("is refused whole");
const inUse = ({ msg }: Line) => msg.includes("is in use");

test("a limit that no window holds refuses the older file, with its line", async () => {
  const { watch, line, write, sets } = await watching(older());
  write(older(", qps_limit: 20000"));
  expect((await line(refused)).why).toMatch(/keys\.yaml:1:45: keys\.0\.qps_limit: must be at most 10000/);
  expect(watch.problem()).toMatch(/must be at most 10000/);
  write(older(", qps_limit: 7"));
  await line(inUse);
  expect(sets.map(({ groups }) => groups[0]?.windows[0]?.limit)).toEqual([7]);
  expect(watch.problem()).toBeUndefined();
});

test("whatever keeps a set from being loaded is said once, as a refused edit, until it is mended", async () => {
  const { folder, watch, line, lines, write, sets } = await watching(older());
  const memory = memoryFile(folder);
  rmSync(memory);
  mkdirSync(memory);
  write(older(", qps_limit: 7"));
  expect((await line(refused)).why).toMatch(/EISDIR/);
  expect(watch.problem()).toMatch(/EISDIR/);
  rmdirSync(memory);
  await line(inUse);
  expect(sets).toHaveLength(1);
  expect(watch.problem()).toBeUndefined();
  expect(lines.filter(({ level }) => level >= 40)).toEqual([
    expect.objectContaining({ level: 40, msg: expect.stringContaining("Only 1 usable key") }),
    expect.objectContaining({ level: 50, why: expect.stringContaining("EISDIR") }),
    expect.objectContaining({ level: 40, msg: expect.stringContaining("Only 1 usable key") }),
  ]);
});

const ranked = (more = "") =>
  `keys: [{ id: a, api_key: sk-one, priority: 1${more} }, { id: b, api_key: sk-two, priority: 2 }]\n`;

test.each<[SaidElsewhere, number, number, number]>([
  [{}, 30, 40, 40],
  [{ atStart: true }, 20, 20, 40],
  [{ atStart: true, ofChanges: true }, 20, 20, 20],
])(
  "notices are said at info and few keys at warn, unless they are said elsewhere: %j",
  async (elsewhere, notice, atStart, later) => {
    const { line, lines, write } = await watching(ranked(), elsewhere);
    const few = () => lines.filter(({ msg }) => msg.startsWith("Only 2 usable keys")).map(({ level }) => level);
    expect((await line(({ msg }) => msg.includes("priority is read as a rank"))).level).toBe(notice);
    expect(few()).toEqual([atStart]);
    write(ranked(", qps_limit: 7"));
    await line(inUse);
    expect(few()).toEqual([atStart, later]);
  },
);
