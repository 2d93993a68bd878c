/**
 * What a user's first command does in a copy that nobody has run yet, and what the next ones leave alone. The copy has our
 * packages but for Node, Vite and the list of what is installed, since a whole installation takes a small machine half a
 * minute of both its cores; VIGILANE_LONG=1: it has none (as has the copy that a CI runs the tests in).
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, rmSync, utimesSync } from "node:fs";
import { basename, delimiter, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { folder, ROOT, start } from "../support/command.ts";

const LONG = process.env.VIGILANE_LONG === "1";

/** The packages as links to our own files, which npm replaces and never writes into; false where links cannot be made. */
function linkPackages(clone: string): boolean {
  const { status } = spawnSync("cp", ["-al", join(ROOT, "node_modules"), clone]);
  if (status !== 0) return false;
  for (const gone of ["node", "vite", ".package-lock.json", ".cache"]) {
    rmSync(join(clone, "node_modules", gone), { recursive: true, force: true });
  }
  return true;
}

test("a copy without packages, on the Node that is on the PATH: prepare installs, builds and then has nothing to do", {
  timeout: 400_000,
}, async () => {
  const clone = join(folder(), "vigilane");
  const left = new Set(["node_modules", ".git", "data", "dist"]);
  cpSync(ROOT, clone, { recursive: true, filter: (path) => !left.has(basename(path)) });
  if (!LONG && !linkPackages(clone)) rmSync(join(clone, "node_modules"), { recursive: true, force: true });
  // As in a user's shell: no npm has put a node_modules/.bin on the PATH yet.
  const path = (process.env.PATH ?? "")
    .split(delimiter)
    .filter((entry) => !entry.includes("node_modules"))
    .join(delimiter);
  const outside = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.toLowerCase().startsWith("npm_")),
  );
  const npm = (...args: string[]) => start("npm", args, clone, { ...outside, PATH: path });
  const first = npm("run", "vigilane", "--", "--version");
  expect(await first.ended, first.lines.join("\n")).toBe(0);
  expect(first.lines.join("\n")).toMatch(/no packages yet[\s\S]*packages are installed/);
  if (existsSync(join(clone, "dashboard", "index.html")))
    expect(existsSync(join(clone, "dashboard", "dist", "index.html"))).toBe(true);
  expect(first.lines.at(-1)).toMatch(/^\d+\.\d+\.\d+$/);

  const second = npm("run", "vigilane", "--", "--version");
  expect(await second.ended).toBe(0);
  expect(second.lines.filter((line) => line.startsWith("prepare:"))).toEqual([]);

  // What tests need besides: installed where that is possible, said where it is not, and never a failure.
  const forTests = npm("run", "pretest");
  expect(await forTests.ended, forTests.lines.join("\n")).toBe(0);

  await wait(20); // a file system's clock may be coarse
  utimesSync(join(clone, "package-lock.json"), new Date(), new Date());
  const third = npm("run", "vigilane", "--", "--version");
  expect(await third.ended, third.lines.join("\n")).toBe(0);
  expect(third.lines.join("\n")).toContain("older than the lock file");
});
