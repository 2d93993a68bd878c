import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { loadSettings } from "../../src/config.ts";
import { readToken } from "../../src/gateway/auth.ts";
import { dayCapWarnings, readyLine } from "../../src/supervisor/announcement.ts";

function settingsOf(...args: string[]) {
  const data = mkdtempSync(join(tmpdir(), "vigilane-announcement-"));
  onTestFinished(() => rmSync(data, { recursive: true, force: true }));
  return loadSettings(["--data", data, ...args], {}).settings;
}

const URL = "http://127.0.0.1:8800";
const OWN = "a-token-of-the-user's-own";

test("the address holds the token that was made, for a person at a terminal", () => {
  const settings = settingsOf();
  expect(readyLine(settings, URL)).toBe(`vigilane is ready: ${URL}/?token=${readToken(settings)}`);
});

test("lines for machines hold no token, but say where it is", () => {
  const settings = settingsOf("--log-format", "json");
  const line = readyLine(settings, URL);
  expect(line).not.toContain(readToken(settings));
  expect(line).toContain(`${URL}/ `);
  expect(line).toContain(join(settings.data, "token"));
});

test.each(["pretty", "json"])("a token of the user's own is never shown (%s)", (format) => {
  const line = readyLine(settingsOf("--token", OWN, "--log-format", format), URL);
  expect(line).not.toContain(OWN);
  expect(line).toContain("VIGILANE_TOKEN");
});

const REAL = [{ simulated: false }];
const SIMULATED = [{ simulated: true }];

test("real keys with a store in memory: the start says that the day's count begins anew", () => {
  const [warning = "", ...more] = dayCapWarnings({ callsPerDay: 500 }, REAL, { inMemory: true });
  expect(warning).toMatch(/in memory.*begins anew at each start.*500.*try.*never counted/);
  expect(more).toEqual([]);
  expect(dayCapWarnings({ callsPerDay: undefined }, REAL, { inMemory: true })).toEqual([
    expect.stringContaining("at most 200 calls a day"),
    expect.stringContaining("cap of 200 calls"),
  ]);
});

test("nothing is said of a cap that holds, that there is none of, or that costs nothing", () => {
  expect(dayCapWarnings({ callsPerDay: 500 }, REAL, { inMemory: false })).toEqual([]);
  expect(dayCapWarnings({ callsPerDay: 0 }, REAL, { inMemory: true })).toEqual([]);
  expect(dayCapWarnings({ callsPerDay: undefined }, SIMULATED, { inMemory: true })).toEqual([]);
});
