import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  DEFAULT_CALLS_PER_DAY,
  loadKeyGroups,
  registration,
  simulatedKeyGroups,
  sustainedCallsPerSecond,
} from "../../src/queues/key-groups.ts";
import { Settings } from "../../src/settings.ts";

const folder = mkdtempSync(join(tmpdir(), "vigilane-keys-"));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function load(text: string, over: Partial<Settings> = {}, env: NodeJS.ProcessEnv = {}) {
  files += 1;
  const path = join(folder, `keys-${files}.yaml`);
  writeFileSync(path, text);
  return loadKeyGroups({ ...Settings.parse({}), keys: path, ...over }, env);
}
const group = (over = "") => `keyGroups:
  - id: qwen-a
    baseUrl: https://provider.example/v1
    model: qwen-vl-plus
    windows: { requestsPerSecond: 5, requestsPerMinute: 240 }
    keys: [{ id: key-001, secret: "\${KEY_ONE}" }]
${over}`;

describe("the keys' file", () => {
  test("is read with its windows, and secrets from the environment", () => {
    const [one] = load(group(), { callsPerDay: 0 }, { KEY_ONE: "sk-planted" });
    expect(one).toMatchObject({
      account: "qwen-a",
      maxConcurrent: 0,
      simulated: false,
      keys: [{ id: "key-001", secret: "sk-planted" }],
    });
    expect(one?.windows).toEqual([
      { name: "requestsPerSecond", limit: 5, windowMs: 1_000 },
      { name: "requestsPerMinute", limit: 240, windowMs: 60_000 },
    ]);
  });

  test("the example is valid", () => {
    const groups = loadKeyGroups(
      { ...Settings.parse({}), keys: "config/keys.example.yaml" },
      { DASHSCOPE_KEY_001: "x" },
    );
    expect(groups.map(({ id }) => id)).toEqual(["qwen-a", "local-vllm"]);
  });

  test("every fault at once, with its line, and no secret in it", () => {
    const text =
      "keyGroups:\n  - id: Qwen A\n    baseUrl: ftp://x\n    model: m\n    windows: {}\n    keys: [{ id: k, secret: sk-planted, wight: 1 }]\n";
    expect(() => load(text)).toThrow(
      /keys-\d+\.yaml:2:9: keyGroups\.0\.id.*[\s\S]*:3:\d+: keyGroups\.0\.baseUrl[\s\S]*windows[\s\S]*keys\.0/,
    );
    expect(() => load(text)).not.toThrow(/sk-planted/);
  });

  test("a variable that is not set, two groups of one name, no key left: said", () => {
    expect(() => load(group(), {}, {})).toThrow(/the environment has no KEY_ONE/);
    const twice = group().replace("keyGroups:\n", "");
    expect(() => load(group(twice), {}, { KEY_ONE: "x" })).toThrow(/two key groups have the id qwen-a/);
    expect(() => load(group().replace('}" }', '}", enabled: false }'), {}, { KEY_ONE: "x" })).toThrow(
      /every key is disabled/,
    );
    expect(() => load("keyGroups: [", {})).toThrow(/keys-\d+\.yaml:1/);
    expect(() => loadKeyGroups({ ...Settings.parse({}), keys: join(folder, "none.yaml") })).toThrow(/none\.yaml/);
  });

  test("real keys share a cap of calls a day until a number is set; 0 means none", () => {
    const cap = (over: Partial<Settings>) =>
      load(group(), over, { KEY_ONE: "x" })[0]?.windows.find((w) => w.name === "@callsPerDay")?.limit;
    expect(cap({})).toBe(DEFAULT_CALLS_PER_DAY);
    expect(cap({ callsPerDay: 7 })).toBe(7);
    expect(cap({ callsPerDay: 0 })).toBeUndefined();
    const simulated = load(group().replace("model: qwen-vl-plus", "provider: simulated"), {}, { KEY_ONE: "x" });
    expect(simulated[0]?.windows.map((w) => w.name)).not.toContain("@callsPerDay");
  });
});

test("what the store keeps of a group holds no secret", () => {
  const [one] = load(group(), {}, { KEY_ONE: "sk-planted" });
  if (!one) throw new Error("no group");
  expect(JSON.stringify(registration(one))).not.toContain("sk-planted");
});

test("sustained calls a second: the narrowest window of each account, accounts once, under the shared cap", () => {
  const ten = simulatedKeyGroups({ simulatorUrl: "http://127.0.0.1:1234" });
  expect(ten[0]?.baseUrl).toBe("http://127.0.0.1:1234/v1");
  expect(sustainedCallsPerSecond(ten)).toBeCloseTo(50);
  expect(sustainedCallsPerSecond(ten.map((one) => ({ ...one, account: "same" })))).toBeCloseTo(5);
  expect(sustainedCallsPerSecond(load(group(), { callsPerDay: 0 }, { KEY_ONE: "x" }))).toBeCloseTo(4);
  expect(sustainedCallsPerSecond(load(group(), {}, { KEY_ONE: "x" }))).toBeCloseTo(200 / 86_400);
});
