/** Where secrets come from, how they are shown, what is remembered of them, and the encrypted file. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Decrypter, Encrypter } from "age-encryption";
import { expect, onTestFinished, test } from "vitest";
import { memoryFile, placeOf, readKeyMemory } from "../../src/keys/key-memory.ts";
import { keysFile, loadKeySet, rememberKeys } from "../../src/keys/load-key-set.ts";
import { passphraseIdentity, passphraseRecipient } from "../../src/keys/passphrase.ts";
import { newIdentityFile, openerFrom, seal } from "../../src/keys/sealed-file.ts";
import { referenceOf, resolveSecret, showSecret, showWritten } from "../../src/keys/secrets.ts";
import { Settings } from "../../src/settings.ts";

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "vigilane-secrets-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("a secret is shown by its first 3 and last 4 characters, a short one not at all", () => {
  expect(showSecret("sk-0123456789abcdef")).toBe("sk-…cdef");
  expect(showSecret("sk-0123456789ab")).toBe("…");
  expect(showWritten("file:/run/secrets/qwen")).toBe("file:/run/secrets/qwen");
  expect(showWritten("$" + "{KEY}")).toBe("$" + "{KEY}");
});

test("a secret's file is read without its trailing newline; an empty or missing one is a fault", () => {
  const dir = folder();
  for (const [name, text] of Object.entries({ unix: "sk-one\n", windows: "sk-one\r\n", bare: "sk-one", empty: "\n" }))
    writeFileSync(join(dir, name), text);
  const read = (name: string) => resolveSecret(`file:${join(dir, name)}`, {});
  for (const name of ["unix", "windows", "bare"]) expect(read(name)).toMatchObject({ secret: "sk-one" });
  expect(read("empty")).toMatchObject({ fault: expect.stringContaining("is empty") });
  expect(read("none")).toMatchObject({ fault: expect.stringContaining("ENOENT") });
  expect(referenceOf("file:///run/secrets/x")).toEqual({ kind: "file", path: "/run/secrets/x" });
});

const file = (baseUrl: string, more = "", id = "qwen-a") => `keyGroups:
  - id: ${id}
    model: m
    baseUrl: ${baseUrl}
    windows: { requestsPerSecond: 1 }
    keys: [{ id: k, secret: sk-planted-0123456789 }]
${more}`;

function setUp() {
  const dir = folder();
  const settings: Settings = { ...Settings.parse({}), data: join(dir, "data"), keys: join(dir, "keys.yaml") };
  return {
    settings,
    async load(text: string) {
      writeFileSync(settings.keys ?? "", text);
      return await loadKeySet(settings, { env: {} });
    },
  };
}

test("a secret is sent to no other place than it was entered for, also over restarts", async () => {
  const { load, settings } = setUp();
  const set = await load(file("https://provider.example/v1"));
  await load(file("https://other.example/v1")); // nothing is remembered before a set is in use
  rememberKeys(set, settings);
  for (const elsewhere of [
    "https://other.example/v1",
    "http://provider.example/v1",
    "https://provider.example:8443/v1",
  ]) {
    const loading = load(file(elsewhere));
    await expect(loading).rejects.toThrow(
      /keys\.yaml:4:14: .*key k was entered for https:\/\/provider\.example.*keys confirm qwen-a/,
    );
    await expect(loading).rejects.not.toThrow(/sk-planted/);
  }
  // A group of another name does not help, nor does a second one beside it.
  await expect(load(file("https://other.example/v1", "", "renamed"))).rejects.toThrow(/was entered for/);
  await load(file("https://provider.example/v2"));
  await load(file("https://other.example/v1").replace("sk-planted", "sk-another"));
});

test("what is remembered holds no secret, is for its owner alone, and outlives a torn last line", async () => {
  const { load, settings } = setUp();
  rememberKeys(await load(file("https://provider.example/v1")), settings);
  const path = memoryFile(settings.data);
  expect(readFileSync(path, "utf8")).not.toMatch(/sk-planted|0123456789/);
  expect(statSync(path).mode & 0o077).toBe(0);
  const before = readFileSync(path, "utf8");
  rememberKeys(await load(file("https://provider.example/v1")), settings);
  expect(readFileSync(path, "utf8")).toBe(before);
  writeFileSync(path, `${before}{"key":"torn`);
  await expect(load(file("https://other.example/v1"))).rejects.toThrow(/was entered for/);
});

test("ports of this machine are one place", () => {
  expect(placeOf("http://127.0.0.1:8000/v1")).toBe(placeOf("http://localhost:9000/v1"));
  expect(placeOf("http://127.0.0.1.example/v1")).not.toBe(placeOf("http://127.0.0.1/v1"));
});

test("a renamed group goes on with the quota of its account; a second group beside it does not", async () => {
  const { load, settings } = setUp();
  rememberKeys(await load(file("https://provider.example/v1")), settings);
  const renamed = await load(file("https://provider.example/v1", "", "qwen-b"));
  expect(renamed.groups[0]).toMatchObject({ id: "qwen-b", account: "qwen-a" });
  rememberKeys(renamed, settings);
  expect((await load(file("https://provider.example/v1", "", "qwen-c"))).groups[0]?.account).toBe("qwen-a");
  const second = file("https://provider.example/v1", "", "qwen-b").replace("keyGroups:\n", "");
  const both = await load(file("https://provider.example/v1", second));
  expect(both.groups.map(({ account }) => account)).toEqual(["qwen-a", "qwen-b"]);
});

test("memories written at once by several hands are one", () => {
  const dir = folder();
  mkdirSync(dir, { recursive: true });
  const binding = (secret: string) => ({
    group: "g",
    keyId: "k",
    secret,
    baseUrl: `https://${secret}.example`,
    model: "m",
    account: "g",
  });
  const [one, two] = [readKeyMemory(dir), readKeyMemory(dir)];
  one.remember([binding("a")]);
  two.remember([binding("b")]);
  const now = readKeyMemory(dir);
  expect([...now.placesOf("a"), ...now.placesOf("b")]).toEqual(["https://a.example", "https://b.example"]);
});

test("an encrypted file is read with an identity, its file, or a passphrase, and with nothing else", async () => {
  const dir = folder();
  const text = file("https://provider.example/v1");
  const identityFile = join(dir, "identity.txt");
  writeFileSync(identityFile, await newIdentityFile(0));
  const identity = /^AGE-SECRET-KEY-.*$/m.exec(readFileSync(identityFile, "utf8"))?.[0] ?? "";
  const settings: Settings = { ...Settings.parse({}), data: dir, keys: join(dir, "keys.yaml") };
  const path = join(dir, "keys.yaml.age");
  const sealWith = async (env: NodeJS.ProcessEnv) => {
    const opener = openerFrom(env);
    if (!opener) throw new Error("nothing to seal with");
    writeFileSync(path, await seal(text, opener));
  };

  await sealWith({ VIGILANE_AGE_IDENTITY: identity });
  expect(readFileSync(path).includes("sk-planted")).toBe(false);
  expect(keysFile(settings)).toBe(path);
  for (const env of [{ VIGILANE_AGE_IDENTITY: identity }, { VIGILANE_AGE_IDENTITY_FILE: identityFile }])
    expect((await loadKeySet(settings, { env })).groups[0]?.keys[0]?.secret).toBe("sk-planted-0123456789");
  await expect(loadKeySet(settings, { env: {} })).rejects.toThrow(/is encrypted, and there is nothing to open it with/);
  await expect(loadKeySet(settings, { env: { VIGILANE_AGE_PASSPHRASE: "wrong" } })).rejects.toThrow(/cannot be opened/);
  expect(() => openerFrom({ VIGILANE_AGE_IDENTITY: "sk-planted" })).toThrow(/holds no age identity/);
  expect(() => openerFrom({ VIGILANE_AGE_IDENTITY: "sk-planted" })).not.toThrow(/sk-planted/);

  await sealWith({ VIGILANE_AGE_PASSPHRASE: "planted-pass" });
  const opened = await loadKeySet(settings, { env: { VIGILANE_AGE_PASSPHRASE: "planted-pass" } });
  expect(opened.groups).toHaveLength(1);
});

test("a passphrase is age's own: what one seals the other opens", async () => {
  const theirs = new Encrypter();
  theirs.setScryptWorkFactor(8);
  theirs.setPassphrase("planted-pass");
  const ours = new Decrypter();
  ours.addIdentity(passphraseIdentity("planted-pass"));
  expect(await ours.decrypt(await theirs.encrypt("one"), "text")).toBe("one");
  const sealing = new Encrypter();
  sealing.addRecipient(passphraseRecipient("planted-pass", 8));
  const opening = new Decrypter();
  opening.addPassphrase("planted-pass");
  expect(await opening.decrypt(await sealing.encrypt("two"), "text")).toBe("two");
});
