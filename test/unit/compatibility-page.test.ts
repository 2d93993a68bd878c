/** docs/compatibility.md names tests and settings that are there. */
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ERRORS } from "../../src/errors.ts";
import { Settings } from "../../src/settings.ts";

const page = readFileSync(new URL("../../docs/compatibility.md", import.meta.url), "utf8");
const named = (pattern: RegExp) => [...new Set([...page.matchAll(pattern)].map(([, name = ""]) => name))];

test("every test that the page names is there", () => {
  const files = named(/`(test\/[^`]+)`/g);
  expect(files.length).toBeGreaterThan(8);
  expect(files.filter((file) => !existsSync(new URL(`../../${file}`, import.meta.url)))).toEqual([]);
});

test("every setting with a value that the page names can have it, and every error has its row", () => {
  const settings = named(/`([a-z][A-Za-z]+: [a-z0-9.]+)`/g);
  expect(settings.length).toBeGreaterThan(6);
  for (const setting of settings) {
    const [name = "", value = ""] = setting.split(": ");
    expect(Object.keys(Settings.shape)).toContain(name);
    expect(Settings.safeParse({ [name]: value }).error?.issues ?? [], setting).toEqual([]);
  }
  for (const code of named(/\b([A-Z]+_[A-Z_]+)\b/g).filter((code) => !["KAFKA_BROKERS"].includes(code)))
    expect(Object.keys(ERRORS)).toContain(code);
});

test("all fifteen points stand on the page", () => {
  expect(named(/^\| (\d+) \|/gm)).toEqual(Array.from({ length: 15 }, (_, i) => String(i + 1)));
});
