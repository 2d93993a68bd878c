/** `vigilane keys encrypt | decrypt | edit`: the keys' file and its encrypted form. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { systemClock } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { keysFile } from "../keys/load-key-set.ts";
import { isSealed, newIdentityFile, type Opener, openerFrom, openKeysText, SEALED, seal } from "../keys/sealed-file.ts";
import { replaceFile, writeKeys } from "../keys/write-keys.ts";
import { askSecrets } from "./ask-secret.ts";
import type { KeysCall } from "./keys-call.ts";

const say = (text: string) => void process.stdout.write(`${text}\n`);

export async function encryptKeys(call: KeysCall): Promise<void> {
  const path = fileOf(call);
  if (isSealed(path)) throw wrong(`${path} is encrypted already`, "vigilane keys decrypt, or keys edit.");
  const opener = await openerOf(call);
  const { text } = await openKeysText(path, call.env);
  const sealed = `${path}${SEALED}`;
  replaceFile(sealed, await seal(text, opener));
  if (!call.given("keep")) rmSync(path);
  say(
    `${sealed} holds the keys, encrypted${call.given("keep") ? `; ${path} is still there, and is what is read` : `; ${path} is removed`}.`,
  );
  say("The running system opens it with VIGILANE_AGE_IDENTITY, VIGILANE_AGE_IDENTITY_FILE or VIGILANE_AGE_PASSPHRASE.");
}

export async function decryptKeys(call: KeysCall): Promise<void> {
  const path = fileOf(call);
  const sealed = isSealed(path) ? path : `${path}${SEALED}`;
  const plain = sealed.slice(0, -SEALED.length);
  if (!existsSync(sealed)) throw wrong(`there is no ${sealed}`, "vigilane keys encrypt makes it.");
  if (existsSync(plain)) throw wrong(`${plain} is there already`, "Move it away first; it is what is read.");
  const { text } = await openKeysText(sealed, call.env);
  replaceFile(plain, Buffer.from(text));
  if (!call.given("keep")) rmSync(sealed);
  say(`${plain} holds the keys in plain text, for you alone (mode 0600).`);
}

/** Loops over editor and check only at a terminal, where somebody can mend what is wrong. */
export async function editKeys(call: KeysCall): Promise<void> {
  const path = fileOf(call);
  const { text } = await openKeysText(path, call.env);
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "vigilane-keys-"));
  const file = join(folder, basename(path).replace(SEALED, ""));
  try {
    writeFileSync(file, text, { mode: 0o600 });
    await runEditor(file, call.env);
    const edited = readFileSync(file, "utf8");
    if (edited === text) {
      say("Nothing was changed.");
      return;
    }
    await writeKeys(path, edited, call.settings, call.env);
    say(`${path} is written.`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runEditor(file: string, env: NodeJS.ProcessEnv): Promise<void> {
  const editor = env.VISUAL || env.EDITOR || "vi";
  const child = spawn(`${editor} "$VIGILANE_EDITED"`, {
    shell: true,
    stdio: "inherit",
    env: { ...env, VIGILANE_EDITED: file },
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw wrong(`the editor (${editor}) ended with ${code}; nothing is written`, "Set VISUAL or EDITOR.");
}

function fileOf({ settings }: KeysCall): string {
  const path = keysFile(settings);
  if (path !== undefined) return path;
  throw wrong(
    "there is no keys' file: neither config/keys.yaml nor --keys FILE",
    "Begin with config/keys.example.yaml.",
  );
}

/** --identity, else the environment's, else a passphrase that is asked for twice. */
async function openerOf(call: KeysCall): Promise<Opener> {
  const identityFile = call.flag("identity");
  if (identityFile !== undefined) {
    if (!existsSync(identityFile)) {
      writeFileSync(identityFile, await newIdentityFile(systemClock.nowMs()), { mode: 0o600, flag: "wx" });
      say(`${identityFile} is a new identity: keep it apart from the keys, and safe; without it nothing opens them.`);
    }
    const made = openerFrom({ VIGILANE_AGE_IDENTITY_FILE: identityFile });
    if (made) return made;
  }
  const given = openerFrom(call.env);
  if (given) return given;
  const asking = askSecrets();
  try {
    const passphrase = await asking.ask("Passphrase");
    if ((await asking.ask("Once more")) !== passphrase) throw wrong("the two were not the same", "Try again.");
    return { identities: [], passphrase, identityFile: undefined };
  } finally {
    asking.close();
  }
}

const wrong = (message: string, remedy: string) => new VigilaneError("SETTINGS_INVALID", message, { remedy });
