/** The older flat forms of the keys' file work as they are. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readKeySet } from "../../src/keys/load-key-set.ts";
import { Settings } from "../../src/settings.ts";

const data = mkdtempSync(join(tmpdir(), "vigilane-flat-"));
afterAll(() => rmSync(data, { recursive: true }));

const read = (text: string, env: NodeJS.ProcessEnv = {}) =>
  readKeySet({ path: "api_keys.yaml", text }, { ...Settings.parse({ callsPerDay: 0 }), data }, { env, memory: null });

const windows = (perSecond: number, perMinute: number) => [
  { name: "requestsPerSecond", limit: perSecond, windowMs: 1_000 },
  { name: "requestsPerMinute", limit: perMinute, windowMs: 60_000 },
];

test("api_keys with scheduler and monitoring", () => {
  const set = read(
    `
api_keys:
  - key: "sk-one"
    key_id: "key_001"
    qps_limit: 10
    rpm_limit: 300
    enabled: true
    priority: 1
  - { key: "\${SECOND}", key_id: key_002, priority: 2 }
  - { key: sk-three, key_id: key_003, enabled: false, priority: 2 }
scheduler:
  key_cooldown_seconds: 60
  adaptive_cooldown: { enabled: true, min_cooldown: 10, max_cooldown: 120 }
  max_concurrent_tasks: 50
monitoring: { enabled: true }
`,
    { SECOND: "sk-two" },
  );
  expect(set.groups.map(({ id, keys, weight }) => [id, weight, keys])).toEqual([
    ["key-001", 2, [{ id: "key_001", secret: "sk-one", weight: 2 }]],
    ["key-002", 1, [{ id: "key_002", secret: "sk-two", weight: 1 }]],
    ["key-003", 1, []],
  ]);
  expect(set.groups[1]).toMatchObject({
    provider: "dashscope",
    baseUrl: "https://dashscope.aliyuncs.com/compatible-mode/v1",
    model: "qwen-vl-plus",
    windows: windows(10, 300),
  });
  expect(set.policy).toEqual({
    cooling: { adaptive: true, minMs: 10_000, maxMs: 120_000, fixedMs: 60_000 },
    maxRetries: null,
  });
  expect(set.notices.join("\n")).toMatch(/priority is read as a rank.*1 → 2, 2 → 1/);
  expect(set.notices.join("\n")).toMatch(/passed over: monitoring/);
  expect(set.notices.join("\n")).toMatch(/max_concurrent_tasks is passed over/);
});

test("keys with api_key and name, and a strategy", () => {
  const set = read(`
strategy: least_loaded
max_retry_per_key: 3
default_cooldown: 60.0
base_url: https://older.example/v1
model: qwen-vl-max
keys:
  - { api_key: sk-one, name: Main key }
  - { api_key: sk-two, name: 备用, qps_limit: 0.5, rpm_limit: 100 }
`);
  expect(set.routing).toEqual({ strategy: "least_loaded" });
  expect(set.policy).toMatchObject({ cooling: { adaptive: false, fixedMs: 60_000 }, maxRetries: 3 });
  expect(set.groups).toMatchObject([
    {
      id: "main-key",
      provider: "custom",
      baseUrl: "https://older.example/v1",
      model: "qwen-vl-max",
      windows: windows(5, 100),
    },
    { id: "key-002", windows: [{ name: "requestsPerMinute", limit: 30, windowMs: 60_000 }] },
  ]);
});

test("keys with id and api_key, a selection strategy and cooling", () => {
  const set = read(`
selection_strategy: weighted
cooling: { min_cooldown: 5, max_cooldown: 300 }
provider: openai
model: gpt-x
keys:
  - { id: a, api_key: sk-one, priority: 1, qps_limit: 10, rpm_limit: 600 }
  - { id: b, api_key: sk-two, priority: 3 }
  - { id: c, api_key: sk-three, weight: 7 }
`);
  expect(set.routing).toEqual({ strategy: "weighted" });
  expect(set.policy).toMatchObject({ cooling: { adaptive: true, minMs: 5_000, maxMs: 300_000 }, maxRetries: null });
  expect(set.groups.map(({ id, weight, provider }) => [id, weight, provider])).toEqual([
    ["a", 2, "openai"],
    ["b", 1, "openai"],
    ["c", 7, "openai"],
  ]);
  expect(set.groups[1]?.windows).toEqual(windows(10, 600));
});

test("keys of one account are one group, under the lowest limits that they name", () => {
  const set = read(`
keys:
  - { id: a, api_key: sk-one, account: Acme, rpm_limit: 600 }
  - { id: b, api_key: sk-two, account: Acme, rpm_limit: 300 }
  - { id: c, api_key: sk-three }
`);
  expect(set.groups.map(({ id, account, keys }) => [id, account, keys.map((key) => key.id)])).toEqual([
    ["acme", "Acme", ["a", "b"]],
    ["c", "c", ["c"]],
  ]);
  expect(set.groups[0]?.windows).toEqual(windows(10, 300));
  expect(set.notices.join("\n")).toMatch(/keys of account Acme name different limits/);
});

test("faults have their lines, all at once, and no secret", () => {
  const text = `
keys:
  - { id: a, api_key: sk-planted, qps_limit: fast }
  - { id: b }
  - { id: c, api_key: "\${NOT_THERE}" }
  - { id: d, api_key: sk-planted, qps_limit: 20000 }
  - { id: e, api_key: sk-planted, rpm_limit: 700000 }
selection_strategy: best
`;
  const faults = () => read(text);
  expect(faults).toThrow(/api_keys\.yaml:3:46: keys\.0\.qps_limit: must be a number/);
  expect(faults).toThrow(/:4:5: keys\.1: api_key is missing/);
  expect(faults).toThrow(/:5:23: keys\.2\.api_key: key c: the environment has no NOT_THERE/);
  expect(faults).toThrow(/:6:46: keys\.3\.qps_limit: must be at most 10000\n/);
  expect(faults).toThrow(/:7:46: keys\.4\.rpm_limit: must be at most 600000\n/);
  expect(faults).toThrow(/:8:21: selection_strategy: must be one of/);
  expect(faults).not.toThrow(/sk-planted/);
});

test("whatever an older file may say of cool-downs and retries is in use as it says it; what cannot be is a fault", () => {
  const keys = "\nkeys: [{ id: a, api_key: sk-one, qps_limit: 10000, rpm_limit: 600000 }]\n";
  const policy = (text: string) => read(`${text}${keys}`).policy;
  expect(policy("max_retry_per_key: 20\ncooling: { min_cooldown: 1, max_cooldown: 5 }")).toEqual({
    cooling: { adaptive: true, minMs: 1_000, maxMs: 5_000, fixedMs: 60_000 },
    maxRetries: 20,
  });
  expect(policy("default_cooldown: 0").cooling).toMatchObject({ adaptive: false, fixedMs: 0 });
  expect(policy("scheduler: { max_retry_per_key: 1 }").maxRetries).toBe(1);
  const alone = read(`cooling: { min_cooldown: 300 }${keys}`);
  expect(alone.policy.cooling).toMatchObject({ minMs: 300_000, maxMs: 300_000 });
  expect(alone.notices.join("\n")).toMatch(/min_cooldown is longer than the usual max_cooldown/);
  const fault = (text: string) => () => policy(text);
  expect(fault("cooling: { min_cooldown: 120, max_cooldown: 10 }")).toThrow(
    /yaml:1:26: cooling\.min_cooldown: must not be longer than max_cooldown/,
  );
  expect(fault("scheduler:\n  adaptive_cooldown: { min_cooldown: 9, max_cooldown: 8 }")).toThrow(
    /yaml:2:38: scheduler\.adaptive_cooldown\.min_cooldown: must not be longer/,
  );
  expect(fault("max_retry_per_key: 101")).toThrow(/yaml:1:20: max_retry_per_key: /);
});
