/** What a user's first command does in a copy that nobody has run yet, and what the next ones leave alone. */
import { cpSync, existsSync, utimesSync } from "node:fs";
import { basename, delimiter, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { expect, test } from "vitest";
import { folder, ROOT, start } from "../support/command.ts";

test("a copy without packages, on the Node that is on the PATH: prepare installs, builds and then has nothing to do", {
  timeout: 400_000,
}, async () => {
  const clone = join(folder(), "vigilane");
  const left = new Set(["node_modules", ".git", "data", "dist"]);
  cpSync(ROOT, clone, { recursive: true, filter: (path) => !left.has(basename(path)) });
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
