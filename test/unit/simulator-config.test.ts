import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parse } from "yaml";
import { Faults, readSimulatorConfig, SimulatorConfig, Windows } from "../../src/simulator/simulator-config.ts";

const EXAMPLE = "config/simulator.example.yaml";
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vigilane-simulator-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function fileWith(text: string): string {
  const path = join(folder, "simulator.yaml");
  writeFileSync(path, text);
  return path;
}

test("without a file: ten accounts, 5 a second and 300 a minute each, one second on average", () => {
  const config = readSimulatorConfig(undefined);
  expect(config).toMatchObject({ mode: "enforce", latency: { meanMs: 1_000, p95Ms: 1_450 } });
  expect(config.accounts).toHaveLength(10);
  expect(config.accounts[9]).toMatchObject({
    id: "simulated-10",
    keys: ["sim-key-10"],
    windows: { requestsPerSecond: 5, requestsPerMinute: 300 },
    faults: { hang: false, serverErrorRate: 0 },
  });
});

test("the example is valid, names every field, and states the defaults", () => {
  const config = readSimulatorConfig(EXAMPLE);
  const written = parse(readFileSync(EXAMPLE, "utf8"));
  const { accounts, ...rest } = SimulatorConfig.parse({});
  expect(Object.keys(written).sort()).toEqual([...Object.keys(rest), "accounts"].sort());
  expect({ ...config, accounts: [] }).toEqual({ ...rest, accounts: [] });
  expect(config.accounts[0]).toEqual(accounts[0]);
  expect(Object.keys(written.accounts[1].windows).sort()).toEqual(Object.keys(Windows.shape).sort());
  expect(written.accounts[1].faults).toEqual(Faults.parse({}));
});

test("every fault of a file is named at once", () => {
  const path = fileWith(`
mode: strict
latency: { meanMs: 1000, p95Ms: 9000 }
accounts:
  - { id: A B, keys: [] }
  - { id: a, keys: [k], windows: { requestsPerHour: 4 } }
`);
  expect(() => readSimulatorConfig(path)).toThrow(
    /mode[\s\S]*latency[\s\S]*accounts\.0\.id[\s\S]*accounts\.0\.keys[\s\S]*accounts\.1\.windows/,
  );
});

test.each([
  ["accounts: [{ id: a, keys: [k] }, { id: a, keys: [l] }]", /same id/],
  ["accounts: [{ id: a, keys: [k] }, { id: b, keys: [k] }]", /same key/],
  ["accounts: [", /simulator/],
  ["latency: { meanMs: 100, p95Ms: 90 }", /p95Ms/],
  ["uplink: { meanMs: 20, p95Ms: 90 }", /uplink: p95Ms/],
])("%s is refused", (text, why) => {
  expect(() => readSimulatorConfig(fileWith(text))).toThrow(
    expect.objectContaining({ code: "SETTINGS_INVALID", message: expect.stringMatching(why) }),
  );
});

test("a file that is not there is a wrong setting", () => {
  expect(() => readSimulatorConfig(join(folder, "none.yaml"))).toThrow(
    expect.objectContaining({ code: "SETTINGS_INVALID" }),
  );
});
