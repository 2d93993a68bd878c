import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fewKeysWarning, keysFile, loadKeySet } from "../../src/keys/load-key-set.ts";
import {
  DEFAULT_CALLS_PER_DAY,
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
  return loadKeySet({ ...Settings.parse({}), data: folder, keys: path, ...over }, { env });
}
const groupsOf = async (...args: Parameters<typeof load>) => (await load(...args)).groups;
/** Every line of the fault; fails where there is none. */
const faultsOf = async (...args: Parameters<typeof load>) =>
  await load(...args).then(
    () => expect.unreachable("the file is right"),
    (error: Error) => error.message,
  );

const group = (over = "") => `keyGroups:
  - id: qwen-a
    baseUrl: https://provider.example/v1
    model: qwen-vl-plus
    windows: { requestsPerSecond: 5, requestsPerMinute: 240 }
    keys: [{ id: key-001, secret: "\${KEY_ONE}" }]
${over}`;

describe("the keys' file", () => {
  test("is read with its windows, and secrets from the environment", async () => {
    const [one] = await groupsOf(group(), { callsPerDay: 0 }, { KEY_ONE: "sk-planted" });
    expect(one).toMatchObject({
      account: "qwen-a",
      maxConcurrent: 0,
      simulated: false,
      strategy: "round_robin",
      weight: 1,
      keys: [{ id: "key-001", secret: "sk-planted", weight: 1 }],
    });
    expect(one?.windows).toEqual([
      { name: "requestsPerSecond", limit: 5, windowMs: 1_000 },
      { name: "requestsPerMinute", limit: 240, windowMs: 60_000 },
    ]);
  });

  test("a group has five hundred keys at most, however they are written", async () => {
    const keys = (count: number, more = "") =>
      Array.from({ length: count }, (_, i) => `{ id: key-${i}, ${more || `secret: sk-${i}`} }`).join(", ");
    const own = (count: number) => group().replace(/keys: .*/, `keys: [${keys(count)}]`);
    expect((await groupsOf(own(500)))[0]?.keys).toHaveLength(500);
    expect(await faultsOf(own(501))).toContain("key group qwen-a: it has 501 keys, of 500 at most");
    const flat = `baseUrl: https://provider.example/v1
model: m
keys: [${keys(501, "api_key: sk-1, account: one")}]`;
    expect(await faultsOf(flat)).toContain("it has 501 keys, of 500 at most");
  });

  test("every field of a group comes through", async () => {
    const text = `routing: { strategy: least_loaded }
keyGroups:
  - id: full
    provider: openai
    model: m
    weight: 2.5
    price: { perMillionInputTokens: 0.2, perMillionOutputTokens: 0.6, perCall: 0.001 }
    region: eu
    quality: 4
    capabilities: { jsonObject: true }
    refusedCallsCount: false
    account: acme
    strategy: weighted
    windows: { requestsPerDay: 100, maxConcurrent: 3 }
    keys: [{ id: a, secret: sk-aaa, weight: 3 }, { id: b, secret: sk-bbb, enabled: false }]
`;
    const set = await load(text, { callsPerDay: 0 });
    expect(set.routing).toEqual({ strategy: "least_loaded" });
    expect(set.groups).toEqual([
      {
        id: "full",
        provider: "openai",
        baseUrl: "https://api.openai.com/v1",
        model: "m",
        weight: 2.5,
        price: { perMillionInputTokens: 0.2, perMillionOutputTokens: 0.6, perCall: 0.001 },
        region: "eu",
        quality: 4,
        capabilities: { jsonObject: true, jsonSchema: true },
        refusedCallsCount: false,
        account: "acme",
        strategy: "weighted",
        windows: [{ name: "requestsPerDay", limit: 100, windowMs: 86_400_000 }],
        maxConcurrent: 3,
        keys: [{ id: "a", secret: "sk-aaa", weight: 3 }],
        simulated: false,
      },
    ]);
  });

  test("the example is valid", async () => {
    const set = await loadKeySet(
      { ...Settings.parse({}), data: folder, keys: "config/keys.example.yaml" },
      { env: { DASHSCOPE_KEY_001: "x", DASHSCOPE_KEY_002: "y" } },
    );
    expect(set.groups.map(({ id }) => id)).toEqual(["qwen-a", "local-vllm"]);
    expect(set.notices).toEqual([]);
  });

  test("ollama and vllm need no key and know where they are; the others need one", async () => {
    const local = (provider: string) =>
      `keyGroups: [{ id: local, provider: ${provider}, model: m, windows: { requestsPerSecond: 1 } }]`;
    expect((await groupsOf(local("ollama")))[0]).toMatchObject({
      baseUrl: "http://127.0.0.1:11434/v1",
      keys: [{ id: "no-key" }],
    });
    expect((await groupsOf(local("vllm")))[0]?.keys).toHaveLength(1);
    expect(await faultsOf(local("dashscope"))).toMatch(/keys-\d+\.yaml:1:13: .*keys is missing: provider dashscope/);
  });

  test("whether refused calls count is known of the provider, the stricter of one that is not, unless the file says it", async () => {
    const counts = async (provider: string, more = "") => {
      const text = `keyGroups: [{ id: g, provider: ${provider}, baseUrl: "http://127.0.0.1:9/v1", model: m, windows: { requestsPerSecond: 1 }, keys: [{ id: k, secret: sk-x }]${more} }]`;
      return (await groupsOf(text))[0]?.refusedCallsCount;
    };
    expect([await counts("openai"), await counts("dashscope"), await counts("custom")]).toEqual([true, false, true]);
    expect(await counts("openai", ", refusedCallsCount: false")).toBe(false);
    expect(await counts("dashscope", ", refusedCallsCount: true")).toBe(true);
  });

  test("every fault at once, each with line and column, and no secret in it", async () => {
    const text = `keyGroups:
  - id: Qwen A
    baseUrl: ftp://x
    model: m
    windows: {}
    keys: [{ id: k, secret: sk-planted, wight: 1 }]
  - id: other
    model: m
    windows: { requestsPerSecond: 1 }
    keys:
      - id: one
        secret: \${MISSING_ONE}
      - id: two
        secret: file:/no/such/planted-path
routing: { strategy: best }
`;
    const faults = await faultsOf(text);
    const lines = faults
      .split("\n")
      .slice(1)
      .map((line) => line.replace(/^ {2}- .*keys-\d+\.yaml:/, ""));
    expect(lines).toEqual([
      expect.stringMatching(/^15:22: routing\.strategy: /),
      expect.stringMatching(/^2:9: keyGroups\.0\.id: must be/),
      expect.stringMatching(/^3:14: keyGroups\.0\.baseUrl: must be an address/),
      expect.stringMatching(/^5:14: keyGroups\.0\.windows: needs at least one/),
      expect.stringMatching(/^6:41: keyGroups\.0\.keys\.0: there is no field "wight" here/),
      expect.stringMatching(/^7:5: keyGroups\.1: key group other: baseUrl is missing/),
      expect.stringMatching(/^12:17: .*key one: the environment has no MISSING_ONE/),
      expect.stringMatching(/^14:17: .*key two: the file \/no\/such\/planted-path cannot be read \(ENOENT\)/),
    ]);
    expect(faults).not.toContain("sk-planted");
  });

  test("a group's own fault hides none of its ids, keys and secrets", async () => {
    const text = `keyGroups:
  - { id: a, model: m, wight: 1, windows: {}, keys: [{ id: k, secret: sk-planted }, { id: k, secret: "\${MISSING}" }] }
  - { id: b, baseUrl: "https://x.example/v1", model: m, windows: { requestsPerSecond: 1 }, keys: [{ id: k, secret: x }] }
  - { id: a, quality: 9, windows: { requestsPerSecond: 1 }, keys: [{ id: k, secret: file:/no/such, enabled: maybe }, 7, { id: o, secret: "\${O}", enabled: false }] }
  - { id: b, keys: none }
  - just text
`;
    const faults = await faultsOf(text);
    const lines = faults.split("\n").map((line) => line.replace(/^ {2}- .*keys-\d+\.yaml:/, ""));
    expect(lines.filter((line) => /two |cannot be read|has no/.test(line))).toEqual([
      expect.stringMatching(/^4:11: keyGroups\.2\.id: two key groups have the id a/),
      expect.stringMatching(/^5:11: keyGroups\.3\.id: two key groups have the id b/),
      expect.stringMatching(/^2:91: keyGroups\.0\.keys\.1\.id: two keys of a have the id k/),
      expect.stringMatching(/^2:102: .*key k: the environment has no MISSING/),
      expect.stringMatching(/^4:85: .*key k: the file \/no\/such cannot be read/),
    ]);
    for (const other of [/no field "wight"/, /windows: needs at least one/, /keyGroups\.2\.quality/, /keyGroups\.4/])
      expect(faults).toMatch(other);
    expect(faults).not.toMatch(/planted/);
  });

  test.each([
    ["an unquoted number", "secret: 1234567890123456"],
    ["a mistyped field", "sk-planted-1234567890ab: x"],
    ["a broken quote", 'secret: "sk-planted-1234567890ab'],
    ["a broken escape", 'secret: "\\sk-planted-1234567890ab"'],
    ["an alias", "secret: *sk-planted-1234567890ab"],
    ["a tag", "secret: !sk-planted-1234567890ab x"],
    ["a reserved sign", "secret: @sk-planted-1234567890ab"],
    ["a block where none may be", "secret: sk-planted-1234567890ab: x: y"],
    ["a list", "secret: [sk-planted-1234567890ab]"],
    ["a space inside", "secret: sk-planted 1234567890ab"],
    ["a bad reference", "secret: $" + "{sk-planted-1234567890ab}"],
    ["a relative file", "secret: file:sk-planted-1234567890ab"],
    ["a password in the address", "secret: x\n    baseUrl: https://me:sk-planted-1234567890ab@provider.example/v1"],
  ])("%s in the place of a secret is told with its line, and not shown", async (_what, line) => {
    const text = `keyGroups:\n  - id: a\n    model: m\n    windows: { requestsPerSecond: 1 }\n    keys:\n      - id: k\n        ${line}\n`;
    const faults = await faultsOf(text);
    expect(faults).toMatch(/keys-\d+\.yaml:\d+:\d+: /);
    expect(faults).not.toMatch(/planted|1234567890/);
  });

  test("two groups or two keys of one name, no key left, no file, another kind of file: said", async () => {
    const twice = group().replace("keyGroups:\n", "");
    expect(await faultsOf(group(twice), {}, { KEY_ONE: "x" })).toMatch(/:7:9: .*two key groups have the id qwen-a/);
    const keys = group().replace("keys: [", 'keys: [{ id: key-001, secret: "y" }, ');
    expect(await faultsOf(keys, {}, { KEY_ONE: "x" })).toMatch(/:6:48: .*two keys of qwen-a have the id key-001/);
    expect(await faultsOf(group().replace('}" }', '}", enabled: false }'))).toMatch(/every key is disabled/);
    expect(await faultsOf("keyGroups: [")).toMatch(/keys-\d+\.yaml:1/);
    expect(await faultsOf("")).toMatch(/holds neither keyGroups nor/);
    expect(await faultsOf("cameras: []")).toMatch(/holds neither keyGroups nor/);
    const none = { ...Settings.parse({}), keys: join(folder, "none.yaml") };
    await expect(loadKeySet(none)).rejects.toThrow(/none\.yaml/);
    expect(keysFile(none)).toBe(none.keys);
  });

  test("a group whose keys are all disabled stays, without a key; nothing is looked for behind a disabled one", async () => {
    const other = group()
      .replace("keyGroups:\n", "")
      .replace("qwen-a", "qwen-b")
      .replace('}" }', '}", enabled: false }');
    const groups = await groupsOf(group(other).replace("KEY_ONE}", "KEY_TWO}"), {}, { KEY_TWO: "x" });
    expect(groups.map(({ id, keys }) => [id, keys.length])).toEqual([
      ["qwen-a", 1],
      ["qwen-b", 0],
    ]);
    expect(sustainedCallsPerSecond(groups)).toBe(sustainedCallsPerSecond(groups.slice(0, 1)));
  });

  test("fewer than three usable keys are worth a warning, and so is one secret in two accounts", async () => {
    const set = await load(group(), {}, { KEY_ONE: "x" });
    expect(fewKeysWarning(set)).toMatch(/Only 1 usable key in .*keys-\d+\.yaml/);
    expect(fewKeysWarning({ file: undefined, groups: simulatedKeyGroups({}) })).toBeUndefined();
    const other = group().replace("keyGroups:\n", "").replace("qwen-a", "qwen-b");
    const { notices } = await load(group(other), {}, { KEY_ONE: "x" });
    expect(notices).toEqual([expect.stringMatching(/qwen-a and qwen-b have one and the same secret/)]);
  });

  test("real keys share a cap of calls a day until a number is set; 0 means none", async () => {
    const cap = async (over: Partial<Settings>) =>
      (await groupsOf(group(), over, { KEY_ONE: "x" }))[0]?.windows.find((w) => w.name === "@callsPerDay")?.limit;
    expect(await cap({})).toBe(DEFAULT_CALLS_PER_DAY);
    expect(await cap({ callsPerDay: 7 })).toBe(7);
    expect(await cap({ callsPerDay: 0 })).toBeUndefined();
    const simulated = await groupsOf(
      group().replace("model: qwen-vl-plus", "provider: simulated"),
      {},
      { KEY_ONE: "x" },
    );
    expect(simulated[0]?.windows.map((w) => w.name)).not.toContain("@callsPerDay");
  });
});

test("what the store keeps of a group holds no secret", async () => {
  const [one] = await groupsOf(group(), {}, { KEY_ONE: "sk-planted" });
  if (!one) throw new Error("no group");
  expect(JSON.stringify(registration(one))).not.toContain("sk-planted");
});

test("sustained calls a second: the narrowest window of each account, accounts once, under the shared cap", async () => {
  const ten = simulatedKeyGroups({ simulatorUrl: "http://127.0.0.1:1234" });
  expect(ten[0]?.baseUrl).toBe("http://127.0.0.1:1234/v1");
  expect(sustainedCallsPerSecond(ten)).toBeCloseTo(50);
  expect(sustainedCallsPerSecond(ten.map((one) => ({ ...one, account: "same" })))).toBeCloseTo(5);
  expect(sustainedCallsPerSecond(await groupsOf(group(), { callsPerDay: 0 }, { KEY_ONE: "x" }))).toBeCloseTo(4);
  expect(sustainedCallsPerSecond(await groupsOf(group(), {}, { KEY_ONE: "x" }))).toBeCloseTo(200 / 86_400);
});
