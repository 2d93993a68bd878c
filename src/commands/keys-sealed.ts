/** `vigilane keys encrypt | decrypt | edit`: the keys' file and its encrypted form. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline/promises";
import { systemClock } from "../context.ts";
import { explain, VigilaneError } from "../errors.ts";
import { keysFile } from "../keys/load-key-set.ts";
import {
  isSealed,
  type KeysText,
  newIdentityFile,
  type Opener,
  openerFrom,
  openKeysText,
  SEALED,
  seal,
} from "../keys/sealed-file.ts";
import { checkKeys, replaceFile, writeKeys } from "../keys/write-keys.ts";
import { askSecrets } from "./ask-secret.ts";
import type { KeysCall } from "./keys-call.ts";

const say = (text: string) => void process.stdout.write(`${text}\n`);

export async function encryptKeys(call: KeysCall): Promise<void> {
  const path = fileOf(call);
  if (isSealed(path)) throw wrong(`${path} is encrypted already`, "vigilane keys decrypt, or keys edit.");
  const sealed = `${path}${SEALED}`;
  if (existsSync(sealed)) throw wrong(`${sealed} is there already`, "Move it away first; it may hold other keys.");
  const opener = await openerOf(call);
  const opened = await openKeysText(path, call.env);
  replaceFile(sealed, await seal(opened.text, opener), opened);
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
  const opened = await openKeysText(sealed, call.env);
  replaceFile(plain, Buffer.from(opened.text), opened);
  if (!call.given("keep")) rmSync(sealed);
  say(`${plain} holds the keys in plain text, for you alone (mode 0600).`);
}

/** Tells why an edited text is refused, and asks whether to edit it again. */
export type AskAgain = (why: string) => Promise<boolean>;

/** Loops over editor and check only at a terminal, where somebody can mend what is wrong. What is not written is kept. */
export async function editKeys(call: KeysCall, askAgain: AskAgain = askAtTerminal): Promise<void> {
  const { settings, env } = call;
  const path = fileOf(call);
  const opened = await openKeysText(path, env);
  const from = call.flag("from");
  const begun = from === undefined ? opened.text : (await openKeysText(from, env)).text;
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "vigilane-keys-"));
  const copy = join(folder, basename(path).replace(SEALED, ""));
  let kept: string | undefined;
  try {
    writeFileSync(copy, begun, { mode: 0o600 });
    const edited = await editUntilRight(copy, opened, call, askAgain);
    if (edited === opened.text) say("Nothing was changed.");
    else {
      await writeKeys(opened, edited, settings, env);
      say(`${path} is written.${from === undefined ? "" : ` ${from} is not needed any more: delete it.`}`);
    }
  } catch (error) {
    kept = await keepEdited(copy, [opened.text, begun], isSealed(path), env);
    if (kept !== undefined) say(keptInWords(kept));
    throw error;
  } finally {
    if (kept !== copy) rmSync(copy, { force: true });
    if (kept === undefined) rmSync(folder, { recursive: true, force: true });
  }
}

async function editUntilRight(copy: string, opened: KeysText, { settings, env }: KeysCall, askAgain: AskAgain) {
  for (;;) {
    await runEditor(copy, env);
    const edited = readFileSync(copy, "utf8");
    if (edited === opened.text) return edited;
    try {
      checkKeys(opened.path, edited, settings, env);
      return edited;
    } catch (error) {
      if (!(await askAgain(explain(error)))) throw error;
    }
  }
}

/** The copy that stays, encrypted where the file is; undefined: there is nothing in it that is not elsewhere. */
async function keepEdited(copy: string, known: readonly string[], sealed: boolean, env: NodeJS.ProcessEnv) {
  if (!existsSync(copy)) return undefined;
  const edited = readFileSync(copy, "utf8");
  if (known.includes(edited)) return undefined;
  const opener = sealed ? openerFrom(env) : undefined;
  if (!opener) return copy;
  replaceFile(`${copy}${SEALED}`, await seal(edited, opener));
  return `${copy}${SEALED}`;
}

const keptInWords = (kept: string) =>
  `What you wrote is kept in ${kept}, for you alone (${isSealed(kept) ? "encrypted as the file is" : "secrets in plain text"}). ` +
  `vigilane keys edit --from ${kept} goes on with it; delete it when it is not needed any more.`;

async function askAtTerminal(why: string): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // Whoever leaves with Ctrl-C or Ctrl-D says no.
    const left = once(asking, "close").then(() => "n");
    const answer = await Promise.race([asking.question(`${why}\nEdit again? [Y/n] `).catch(() => "n"), left]);
    return !/^n/i.test(answer.trim());
  } finally {
    asking.close();
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
