import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { nothingRuns, runningSystem } from "../../src/commands/running-system.ts";
import { Settings } from "../../src/settings.ts";
import { writeRunFile } from "../../src/supervisor/run-file.ts";

function settingsOf(over: Partial<Settings> = {}): Settings {
  const data = mkdtempSync(join(tmpdir(), "vigilane-running-"));
  onTestFinished(() => rmSync(data, { recursive: true, force: true }));
  return { ...Settings.parse({}), data, ...over };
}
const run = {
  ...{ pid: process.pid, redisUrl: "redis://127.0.0.1:7001", kafkaBrokers: ["127.0.0.1:9001"] },
  ...{ s3Bucket: null, gatewayUrl: null, startedAt: "2026-01-01T00:00:00Z" },
};
const found = (settings: Settings) => {
  const system = runningSystem(settings);
  return system && [system.settings.redisUrl, system.settings.kafkaBrokers, system.here];
};

test("what runs on the data folder is found, with its brokers; also when its store is named as well", () => {
  const settings = settingsOf();
  writeRunFile(settings.data, run);
  expect(found(settings)).toEqual([run.redisUrl, run.kafkaBrokers, true]);
  expect(found({ ...settings, redisUrl: run.redisUrl })).toEqual([run.redisUrl, run.kafkaBrokers, true]);
  expect(found({ ...settings, kafkaBrokers: ["k:1"] })).toEqual([run.redisUrl, ["k:1"], true]);
});

test("another store is not here, whatever runs on the data folder", () => {
  const settings = settingsOf({ redisUrl: "redis://elsewhere:6379" });
  expect(found(settings)).toEqual(["redis://elsewhere:6379", [], false]);
  writeRunFile(settings.data, run);
  expect(found(settings)).toEqual(["redis://elsewhere:6379", [], false]);
});

test("nothing runs: undefined, also after a kill; and who needs one says what to do", () => {
  const settings = settingsOf();
  expect(found(settings)).toBeUndefined();
  writeRunFile(settings.data, { ...run, pid: 2 ** 22 + 1 }); // above the greatest pid of a 64-bit Linux
  expect(found(settings)).toBeUndefined();
  expect(() => nothingRuns(settings)).toThrow(/no vigilane runs on the data folder/);
});
