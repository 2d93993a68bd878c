/** `vigilane keys …` as a process: what it says, what it writes, what it refuses. */
import { spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const SECRET = "sk-planted-0123456789abcd";
const SHOWN = "sk-…abcd";

let folder: string;
let file: string;
const read = () => readFileSync(file, "utf8");
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "vigilane-keys-command-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "config"));
  file = join(folder, "config", "keys.yaml");
  writeFileSync(
    file,
    `# mine
keyGroups:
  - id: qwen-a # paid
    provider: dashscope
    model: qwen-vl-plus
    windows: { requestsPerSecond: 5, maxConcurrent: 8 }
    keys:
      - { id: one, secret: ${SECRET} }
      - { id: two, secret: "\${KEY_TWO}", enabled: false }
`,
  );
});

function keys(args: string[], { input = "", env = {} }: { input?: string; env?: NodeJS.ProcessEnv } = {}) {
  return new Promise<{ code: number | null; said: string }>((resolve) => {
    const child = spawn(process.execPath, [MAIN, "keys", ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...env },
    });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
    child.on("close", (code) => resolve({ code, said }));
    child.stdin.end(input);
  });
}

test("list shows groups and keys, and of a secret its ends", async () => {
  const { code, said } = await keys(["list"], { env: { KEY_TWO: `${SECRET}-two` } });
  expect(code).toBe(0);
  const rows = said.split("\n").map((line) => line.split(/ {2,}/));
  expect(rows[0]).toEqual(["GROUP", "KEY", "SECRET", "ENABLED", "WINDOWS", "PROVIDER, MODEL"]);
  const about = ["requestsPerSecond 5, maxConcurrent 8", "dashscope, qwen-vl-plus"];
  expect(rows[1]).toEqual(["qwen-a", "one", SHOWN, "yes", ...about]);
  expect(rows[2]).toEqual(["qwen-a", "two", "$" + "{KEY_TWO} (sk-…-two)", "no", ...about]);
  expect(said).not.toContain("planted");
});

test("enable, disable, add and remove change the file and say so; what would not load is not written", async () => {
  const before = read();
  expect((await keys(["enable", "qwen-a", "two"])).said).toMatch(
    /key group qwen-a: enabled: two.*\n.*As seen from here it would not load[\s\S]*no KEY_TWO/,
  );
  expect(read()).toBe(before.replace("enabled: false", "enabled: true"));

  const added = await keys(["add", "qwen-a", "--weight", "2"], { input: `${SECRET}-new\n` });
  expect(added).toMatchObject({ code: 0, said: expect.stringContaining("key key-001 added to key group qwen-a") });
  expect(added.said).not.toContain("planted");
  expect(read()).toContain(`      - { id: key-001, secret: ${SECRET}-new, weight: 2 }\n`);
  await keys(["remove", "qwen-a", "key-001"]);
  await keys(["disable", "qwen-a", "two"]);
  expect(read()).toBe(before);

  const last = await keys(["disable", "qwen-a"]);
  expect(last).toMatchObject({ code: 2, said: expect.stringMatching(/keys\.yaml:3:5: .*every key is disabled/) });
  const onCommandLine = await keys(["add", "qwen-a", "--secret", SECRET]);
  expect(onCommandLine).toMatchObject({ code: 2, said: expect.stringContaining("--secret takes no secret") });
  const unknown = await keys(["remove", "qwen-b"]);
  expect(unknown).toMatchObject({ code: 2, said: expect.stringMatching(/no key group qwen-b.*There are: qwen-a/) });
  expect(read()).toBe(before);
  expect(readdirSync(join(folder, "config"))).toEqual(["keys.yaml"]);
});

test("a group is added with its windows, a reference in the place of its secret", async () => {
  const flags = [
    "--provider",
    "custom",
    "--model",
    "m",
    "--base-url",
    "https://x.example/v1",
    "--requests-per-minute",
    "60",
    "--tokens-per-minute",
    "90000",
  ];
  const { code } = await keys(["add", "other", ...flags, "--secret", "file:/run/secrets/other"]);
  expect(code).toBe(0);
  expect(parse(read()).keyGroups[1]).toEqual({
    id: "other",
    provider: "custom",
    baseUrl: "https://x.example/v1",
    model: "m",
    windows: { requestsPerMinute: 60, tokensPerMinute: 90_000 },
    keys: [{ id: "key-001", secret: "file:/run/secrets/other" }],
  });
  const wrong = await keys(["add", "third", "--provider", "custom", "--no-key"]);
  expect(wrong).toMatchObject({ code: 2, said: expect.stringMatching(/windows: needs at least one/) });
  expect(parse(read()).keyGroups).toHaveLength(2);
});

test("confirm lets a known secret go to a new address, once it is entered again", async () => {
  const list = async () => (await keys(["list"])).said;
  await keys(["confirm", "qwen-a"], { input: `${SECRET}\n` });
  writeFileSync(file, read().replace("provider: dashscope", "baseUrl: https://elsewhere.example/v1"));
  expect(await list()).toMatch(/was entered for https:\/\/dashscope\.aliyuncs\.com.*vigilane keys confirm qwen-a/);
  const wrong = await keys(["confirm", "qwen-a"], { input: "sk-something-else\n" });
  expect(wrong).toMatchObject({ code: 2, said: expect.stringContaining("is not the secret of key one") });
  expect((await keys(["confirm", "qwen-a"], { input: `${SECRET}\n` })).said).toMatch(
    /one may be sent to https:\/\/elsewhere/,
  );
  expect(await list()).not.toMatch(/was entered for/);
});

test("encrypt, list, edit and decrypt with an identity's file", async () => {
  const plain = read();
  const identity = join(folder, "identity.txt");
  const sealed = `${file}.age`;
  expect((await keys(["encrypt", "--identity", identity])).said).toMatch(
    /new identity[\s\S]*keys\.yaml\.age holds the keys/,
  );
  expect([existsSync(file), statSync(sealed).mode & 0o077, statSync(identity).mode & 0o077]).toEqual([false, 0, 0]);
  expect(readFileSync(sealed).includes("planted")).toBe(false);
  expect((await keys(["list"])).said).toMatch(/keys\.yaml\.age is encrypted.*VIGILANE_AGE_IDENTITY/);

  const env = { VIGILANE_AGE_IDENTITY_FILE: identity };
  expect((await keys(["list"], { env })).said).toContain(SHOWN);
  await keys(["enable", "qwen-a"], { env });
  expect((await keys(["edit"], { env: { ...env, EDITOR: "sed -i s/paid/free/" } })).said).toContain("is written");
  expect((await keys(["decrypt"], { env })).code).toBe(0);
  expect(read()).toBe(plain.replace("paid", "free").replace("enabled: false", "enabled: true"));
  expect(existsSync(sealed)).toBe(false);

  await keys(["encrypt", "--keep"], { env });
  const before = readFileSync(sealed);
  expect(await keys(["encrypt"], { env })).toMatchObject({
    code: 2,
    said: expect.stringMatching(/keys\.yaml\.age is there already.*Move it away/),
  });
  expect([readFileSync(sealed).equals(before), existsSync(file)]).toEqual([true, true]);
});

test("what would be passed over is refused, and not shown", async () => {
  const before = read();
  for (const [args, said] of [
    [["disable", "qwen-a", "one", "two"], /keys disable takes 2 names at most, and 3 are .*GROUP \[KEY\]/],
    [["add", "qwen-a", SECRET], /keys add takes 1 name at most, and 2 are given/],
    [["list", "qwen-a"], /keys list takes no name, and 1 is given/],
    [
      ["add", "new", "--provider", "ollama", "--no-key", "--weight", "5"],
      /--weight say something of a key, and --no-key/,
    ],
    [["add", "new", "--provider", "ollama", "--no-key", "--id", "k"], /--id say something of a key/],
  ] as const) {
    const refused = await keys([...args]);
    expect(refused).toMatchObject({ code: 2, said: expect.stringMatching(said) });
    expect(refused.said).not.toContain("planted");
  }
  expect(read()).toBe(before);
});

test("what is typed is added to the file as it is by then", async () => {
  const child = spawn(process.execPath, [MAIN, "keys", "add", "qwen-a", "--id", "three"], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder },
  });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  // More than its pipe holds, and no line yet: once all of it is taken, it waits for the rest.
  await new Promise((resolve) => child.stdin.write(" ".repeat(2_000_000), resolve));
  await keys(["enable", "qwen-a", "two"]);
  child.stdin.end(`${SECRET}-three\n`);
  expect(await ended).toBe(0);
  expect(parse(read()).keyGroups[0].keys).toEqual([
    { id: "one", secret: SECRET },
    { id: "two", secret: "$" + "{KEY_TWO}", enabled: true },
    { id: "three", secret: `${SECRET}-three` },
  ]);
});

test("each command has help of its own", async () => {
  const { said } = await keys(["--help"]);
  for (const command of ["list", "add", "enable", "disable", "remove", "confirm", "encrypt", "decrypt", "edit"])
    expect(said).toContain(`keys ${command}`);
  expect((await keys(["add", "--help"])).said).toMatch(/^Usage: vigilane keys add GROUP/);
  expect(await keys(["burn"])).toMatchObject({ code: 2, said: expect.stringContaining('no command "burn"') });
  copyFileSync("config/keys.example.yaml", file);
  const env = { DASHSCOPE_KEY_001: "x", DASHSCOPE_KEY_002: "y" };
  expect((await keys(["list"], { env })).said).toMatch(/local-vllm +- +none needed/);
});
