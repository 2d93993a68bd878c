/** `vigilane keys edit` and the other writers: nothing of others is written over, and nothing that a person wrote is lost. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { editKeys } from "../../src/commands/keys-sealed.ts";
import { newIdentityFile, openKeysText, seal } from "../../src/keys/sealed-file.ts";
import { writeKeys } from "../../src/keys/write-keys.ts";
import { Settings } from "../../src/settings.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const TEXT = `# mine
keyGroups:
  - id: qwen-a # paid
    provider: dashscope
    model: qwen-vl-plus
    windows: { requestsPerSecond: 5 }
    keys: [{ id: one, secret: sk-planted-0123456789abcd }]
`;
/** The first time it breaks the file, then it mends it. */
const EDITOR = `#!/bin/sh
if grep -q sekret "$1"; then sed -i 's/sekret/secret/; s/paid/free/' "$1"; else sed -i 's/secret/sekret/' "$1"; fi
`;

async function setUp(sealed: boolean) {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-keys-edit-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const identity = join(folder, "identity.txt");
  writeFileSync(identity, await newIdentityFile(0));
  writeFileSync(join(folder, "editor.sh"), EDITOR);
  const file = join(folder, sealed ? "keys.yaml.age" : "keys.yaml");
  const opener = { identities: [/^AGE-.*$/m.exec(readFileSync(identity, "utf8"))?.[0] ?? ""], passphrase: undefined };
  const asFile = async (text: string) =>
    sealed ? await seal(text, { ...opener, identityFile: undefined }) : Buffer.from(text);
  writeFileSync(file, await asFile(TEXT));
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    VIGILANE_AGE_IDENTITY_FILE: identity,
    EDITOR: `sh ${join(folder, "editor.sh")}`,
  };
  const settings: Settings = { ...Settings.parse({}), data: join(folder, "data"), keys: file };
  const text = async (path = file) => (await openKeysText(path, env)).text;
  function edit(args: readonly string[] = [], more: NodeJS.ProcessEnv = {}) {
    return new Promise<{ code: number | null; said: string; kept: string }>((resolve) => {
      const child = spawn(process.execPath, [MAIN, "keys", "edit", "--keys", file, ...args], {
        cwd: folder,
        env: { ...env, ...more },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let said = "";
      for (const stream of [child.stdout, child.stderr])
        stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
      child.on("close", (code) => {
        const kept = /is kept in (\S+),/.exec(said)?.[1] ?? "";
        if (kept) onTestFinished(() => rmSync(dirname(kept), { recursive: true, force: true }));
        resolve({ code, said, kept });
      });
    });
  }
  return { folder, file, env, settings, text, asFile, edit };
}

test.each([false, true])(
  "a typo costs nothing: what was written is kept and gone on with (encrypted: %s)",
  async (sealed) => {
    const { file, text, edit } = await setUp(sealed);
    const before = readFileSync(file);
    const refused = await edit();
    expect(refused).toMatchObject({ code: 2, said: expect.stringMatching(/there is no field "sekret" here/) });
    expect(refused.said).not.toContain("planted");
    expect(readFileSync(file).equals(before)).toBe(true);
    expect(refused.kept.endsWith(sealed ? "keys.yaml.age" : "keys.yaml")).toBe(true);
    expect([statSync(refused.kept).mode & 0o077, statSync(dirname(refused.kept)).mode & 0o077]).toEqual([0, 0]);
    expect(readFileSync(refused.kept).includes("planted")).toBe(!sealed);
    expect(existsSync(refused.kept.replace(/\.age$/, ""))).toBe(!sealed); // no plain text beside it
    expect(await text(refused.kept)).toBe(TEXT.replace("secret", "sekret"));

    const again = await edit(["--from", refused.kept]);
    expect(again).toMatchObject({ code: 0, kept: "", said: expect.stringMatching(/is written.*delete it/) });
    expect(await text()).toBe(TEXT.replace("paid", "free"));
  },
);

test("where somebody is there to ask, the editor comes again", async () => {
  const { settings, env, text } = await setUp(false);
  const whys: string[] = [];
  await editKeys({ settings, operands: [], flag: () => undefined, given: () => false, env }, async (why) => {
    whys.push(why);
    return true;
  });
  expect(whys).toEqual([expect.stringMatching(/there is no field "sekret" here/)]);
  expect(await text()).toBe(TEXT.replace("paid", "free"));
});

test.each([false, true])(
  "what others wrote while the editor was open stays, and so does the edit (encrypted: %s)",
  async (sealed) => {
    const { folder, file, text, asFile, edit } = await setUp(sealed);
    const theirs = `${TEXT}# theirs\n`;
    writeFileSync(join(folder, "theirs"), await asFile(theirs));
    const meanwhile = `cp ${join(folder, "theirs")} ${file}; sed -i s/paid/free/`;
    const refused = await edit([], { EDITOR: meanwhile });
    expect(refused).toMatchObject({ code: 2, said: expect.stringMatching(/was changed by somebody else meanwhile/) });
    expect(await text()).toBe(theirs);
    expect(await text(refused.kept)).toBe(TEXT.replace("paid", "free"));
  },
);

test.each([false, true])("a file is written over only as it was opened (encrypted: %s)", async (sealed) => {
  const { file, text, asFile, settings, env } = await setUp(sealed);
  const next = TEXT.replace("paid", "free");
  const opened = await openKeysText(file, env);
  const theirs = await asFile(`${TEXT}# theirs\n`);
  writeFileSync(file, theirs);
  await expect(writeKeys(opened, next, settings, env)).rejects.toThrow(/changed by somebody else.*nothing is written/);
  expect(readFileSync(file).equals(theirs)).toBe(true);
  rmSync(file);
  await expect(writeKeys(opened, next, settings, env)).rejects.toThrow(/changed by somebody else/);
  expect(existsSync(file)).toBe(false);
  writeFileSync(file, theirs);
  await writeKeys(await openKeysText(file, env), next, settings, env);
  expect(await text()).toBe(next);
});
