/** The keys' file over REST: seen with its secrets' ends, changed behind the doors, written back with its comments. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { createKeysAdmin } from "../../src/keys/keys-admin.ts";
import { loadKeySet, rememberKeys } from "../../src/keys/load-key-set.ts";
import { Settings } from "../../src/settings.ts";
import { gatewayWorld, TOKEN } from "../support/gateway.ts";

const SECRET = "sk-planted-0123456789abcd";
const FILE = `# mine
keyGroups:
  - id: qwen-a # paid
    provider: dashscope
    model: qwen-vl-plus
    windows:
      requestsPerSecond: 5 # as they told us
    keys:
      - { id: one, secret: "\${KEY_ONE}" }
      - { id: two, secret: ${SECRET}-two }
`;
const ENV = { KEY_ONE: SECRET };

async function setUp() {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-rest-keys-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "keys.yaml");
  writeFileSync(file, FILE);
  const settings: Settings = { ...Settings.parse({}), data: folder, keys: file };
  const load = () => loadKeySet(settings, { env: ENV });
  rememberKeys(await load(), settings); // as the worker that runs
  const world = await gatewayWorld();
  const gateway = await world.start({ keys: createKeysAdmin(settings, ENV) });
  async function ask(
    method: string,
    path = "",
    body?: unknown,
    headers: Record<string, string> = { authorization: `Bearer ${TOKEN}` },
  ) {
    const response = await fetch(`${gateway.url()}/api/key-groups${path}`, {
      method,
      headers: { ...headers, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    expect(text).not.toContain("planted");
    return { status: response.status, text, json: JSON.parse(text) };
  }
  return { ask, url: `${gateway.url()}/api/key-groups`, file, read: () => readFileSync(file, "utf8"), load };
}

test("looking shows states; permission shows the file, and of secrets their ends", async () => {
  const { ask } = await setUp();
  expect((await ask("GET", "", undefined, {})).json).toMatchObject({ keyGroups: [] });
  const { json } = await ask("GET");
  expect(json.onFile).toEqual([
    expect.objectContaining({
      id: "qwen-a",
      capabilities: {},
      refusedCallsCount: null,
      keys: [
        { id: "one", secret: "$" + "{KEY_ONE}", weight: 1, enabled: true },
        { id: "two", secret: "sk-…-two", weight: 1, enabled: true },
      ],
    }),
  ]);
});

test("changes need the token and come from no other site; nothing is written else", async () => {
  const { ask, read } = await setUp();
  expect((await ask("DELETE", "/qwen-a", undefined, {})).status).toBe(403);
  const foreign = { authorization: `Bearer ${TOKEN}`, origin: "https://evil.example" };
  expect((await ask("PATCH", "/qwen-a", { weight: 2 }, foreign)).status).toBe(403);
  expect(read()).toBe(FILE);
});

test("a group is added, changed and removed; comments stay", async () => {
  const { ask, read, load } = await setUp();
  const group = {
    id: "other",
    provider: "custom",
    baseUrl: "https://other.example/v1",
    model: "m",
    windows: { requestsPerMinute: 60 },
    keys: [{ id: "k", secret: `${SECRET}-new` }],
  };
  expect(await ask("POST", "", group)).toMatchObject({
    status: 201,
    json: { done: expect.stringContaining("key group other added with key k") },
  });
  expect(read().startsWith(FILE)).toBe(true);
  expect(parse(read()).keyGroups[1]).toEqual(group);

  const change = { weight: 3, windows: { requestsPerSecond: 9 }, keys: [{ id: "two", enabled: false }] };
  expect((await ask("PATCH", "/qwen-a", change)).status).toBe(200);
  expect(read()).toContain("requestsPerSecond: 9 # as they told us");
  expect((await load()).groups[0]).toMatchObject({ weight: 3, keys: [{ id: "one" }] });

  expect((await ask("DELETE", "/qwen-a/keys/two")).status).toBe(200);
  expect((await ask("DELETE", "/other")).status).toBe(200);
  expect(parse(read()).keyGroups).toHaveLength(1);
  expect(read()).toContain("# paid");
});

test("a change merges objects and replaces lists whole, and what it said is seen", async () => {
  const { ask, read } = await setUp();
  const windows = () => parse(read()).keyGroups[0].windows;
  const change = async (body: object) => expect((await ask("PATCH", "/qwen-a", body)).status).toBe(200);
  const hour = { limit: 100, windowMs: 3_600_000 };
  const week = { limit: 900, windowMs: 604_800_000 };
  await change({ windows: { more: [hour, week] }, price: { perCall: 0.1, perMillionInputTokens: null } });
  expect(windows()).toEqual({ requestsPerSecond: 5, more: [hour, week] });
  expect(parse(read()).keyGroups[0].price).toEqual({ perCall: 0.1 });
  await change({ windows: { more: [week] }, price: { perMillionInputTokens: 2 } });
  expect(windows()).toEqual({ requestsPerSecond: 5, more: [week] });
  expect(parse(read()).keyGroups[0].price).toEqual({ perCall: 0.1, perMillionInputTokens: 2 });
  await change({ windows: { more: [] }, price: null, capabilities: { jsonSchema: true }, refusedCallsCount: true });
  expect(windows()).toEqual({ requestsPerSecond: 5, more: [] });
  expect(read()).toContain("requestsPerSecond: 5 # as they told us");
  const { onFile } = (await ask("GET")).json;
  expect(onFile).toMatchObject([{ price: null, capabilities: { jsonSchema: true }, refusedCallsCount: true }]);
});

test("what would not load is refused with every fault, and not written", async () => {
  const { ask, read } = await setUp();
  const refused = async (method: string, path: string, body: unknown, why: RegExp) =>
    expect(await ask(method, path, body)).toMatchObject({ status: 400, text: expect.stringMatching(why) });
  await refused("POST", "", { id: "Bad Id", windows: {} }, /id: must be 1 to 40.*windows: needs at least one/);
  await refused("POST", "", { id: "qwen-a", windows: { requestsPerSecond: 1 } }, /qwen-a already/);
  await refused("PATCH", "/qwen-a", { windows: { requestsPerSekond: 1 } }, /requestsPerSekond/);
  await refused(
    "PATCH",
    "/qwen-a",
    {
      keys: [
        { id: "one", enabled: false },
        { id: "two", enabled: false },
      ],
    },
    /every key is disabled/,
  );
  for (const nothing of [{}, { keys: [] }])
    await refused("PATCH", "/qwen-a", nothing, /nothing is said that would change key group qwen-a/);
  const stolen = {
    id: "x",
    model: "m",
    windows: { requestsPerSecond: 1 },
    keys: [{ id: "k", secret: "file:/etc/passwd" }],
  };
  await refused(
    "POST",
    "",
    { ...stolen, baseUrl: "https://evil.example/v1" },
    /references are written into the file by hand/,
  );
  expect((await ask("PATCH", "/none", { weight: 1 })).status).toBe(404);
  expect((await ask("DELETE", "/qwen-a/keys/none")).status).toBe(404);
  expect(read()).toBe(FILE);
});

test("a body that is no JSON, or too big, is refused in words that say so and repeat nothing of it", async () => {
  const { url, read } = await setUp();
  const send = async (body: string, headers: Record<string, string> = {}) => {
    const response = await fetch(url, {
      method: "POST",
      headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json", ...headers },
      body,
    });
    const text = await response.text();
    expect(text).not.toContain("planted");
    return { status: response.status, ...JSON.parse(text).error };
  };
  expect(await send(`{ "id": "x",\n  "secret": ${SECRET} }`)).toMatchObject({
    ...{ status: 400, code: "REQUEST_UNREADABLE", message: expect.stringMatching(/^the body is no JSON object/) },
  });
  expect(await send('{ "id": "x",\n  "keys" 5 }')).toMatchObject({
    ...{ status: 400, message: "the body is no JSON object: line 2, column 10" },
  });
  expect(await send('"text"')).toMatchObject({ status: 400, message: expect.stringContaining("no JSON object") });
  expect(await send(JSON.stringify({ id: "x".repeat(70_000) }))).toMatchObject({
    ...{ status: 413, code: "REQUEST_TOO_LARGE", message: "the body is too big: at most 64 KiB" },
  });
  expect(await send("{}", { "content-encoding": "zip" })).toMatchObject({
    status: 400,
    message: expect.stringContaining("gzip"),
  });
  expect(read()).toBe(FILE);
});

test("an address elsewhere needs every secret again", async () => {
  const { ask, read, load } = await setUp();
  const baseUrl = "https://elsewhere.example/v1";
  const keys = [
    { id: "one", secret: SECRET },
    { id: "two", secret: `${SECRET}-two` },
  ];
  for (const body of [
    { baseUrl },
    { baseUrl, keys: keys.slice(0, 1) },
    { baseUrl, keys: [{ id: "one", secret: "sk-wrong" }, keys[1]] },
    { provider: "openai" },
  ])
    expect(await ask("PATCH", "/qwen-a", body)).toMatchObject({
      status: 400,
      text: expect.stringMatching(/enter the secret of key (one|two) again/),
    });
  expect(read()).toBe(FILE);
  expect((await ask("PATCH", "/qwen-a", { baseUrl, keys })).status).toBe(200);
  expect((await load()).groups[0]).toMatchObject({ baseUrl, keys: [{ secret: SECRET }, { secret: `${SECRET}-two` }] });
  expect(read()).toContain("$" + "{KEY_ONE}");
});

test("without a keys' file nothing is changed, and whoever has permission sees the groups all the same", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-no-keys-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const world = await gatewayWorld();
  const without = createKeysAdmin({ ...Settings.parse({}), data: folder, keys: join(folder, "none.yaml") }, {});
  const demo = createKeysAdmin({ ...Settings.parse({}), data: folder, keys: undefined }, {});
  const headers = { authorization: `Bearer ${TOKEN}` };
  for (const [options, status] of [
    [{}, 405] as const,
    [{ keys: demo }, 405] as const,
    [{ keys: without }, 409] as const,
  ]) {
    const gateway = await world.start(options);
    const url = `${gateway.url()}/api/key-groups`;
    expect((await fetch(`${url}/x`, { method: "DELETE", headers })).status).toBe(status);
    for (const asked of [await fetch(url), await fetch(url, { headers })]) {
      expect(asked.status).toBe(200);
      expect(await asked.json()).toMatchObject({ nowMs: expect.any(Number), keyGroups: [] });
    }
  }
  const seen = await (await fetch(`${(await world.start({ keys: demo })).url()}/api/key-groups`, { headers })).json();
  expect(seen).toMatchObject({ onFile: null, onFileProblem: expect.stringMatching(/no keys' file.*OPERATION_OFF/) });
});

test("a file that cannot be read at the moment hides no group, is told with its faults, and is not changed", async () => {
  const { ask, file, read } = await setUp();
  const broken = `${FILE}  - { id: [\n`;
  writeFileSync(file, broken);
  const { status, json } = await ask("GET");
  expect(status).toBe(200);
  expect(json).toMatchObject({
    keyGroups: [],
    onFile: null,
    onFileProblem: expect.stringMatching(/keys\.yaml:\d+:\d+: /),
  });
  expect((await ask("GET", "", undefined, {})).json).not.toHaveProperty("onFileProblem");
  for (const [method, path, body] of [
    ["PATCH", "/qwen-a", { weight: 2 }],
    ["POST", "", { id: "other", windows: { requestsPerSecond: 1 } }],
    ["DELETE", "/qwen-a", undefined],
  ] as const)
    expect(await ask(method, path, body)).toMatchObject({
      status: 409,
      json: { error: { code: "SETTINGS_INVALID", message: expect.stringMatching(/keys\.yaml:\d+:\d+: /) } },
    });
  expect(read()).toBe(broken);
});
