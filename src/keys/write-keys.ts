/** Writes the keys' file: only what would load, over nothing that others wrote meanwhile, encrypted where it was, whole or not at all. */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";
import { readKeySet } from "./load-key-set.ts";
import { isSealed, type OpenedKeys, openerFrom, seal } from "./sealed-file.ts";

/** Throws every fault of a text that would not load, wherever the file is used. */
export function checkKeys(path: string, text: string, settings: Settings, env: NodeJS.ProcessEnv): void {
  readKeySet({ path, text }, settings, { env, memory: null, asWritten: true });
}

/**
 * Writes the text over the file that was opened. Rejects with SETTINGS_INVALID, and writes nothing, where the text would not
 * load or the file is not any more what was opened.
 */
export async function writeKeys(
  opened: OpenedKeys,
  text: string,
  settings: Settings,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  const { path } = opened;
  checkKeys(path, text, settings, env);
  replaceFile(path, isSealed(path) ? await sealAgain(path, text, env) : Buffer.from(text), opened);
}

async function sealAgain(path: string, text: string, env: NodeJS.ProcessEnv): Promise<Uint8Array> {
  const opener = openerFrom(env);
  if (opener) return await seal(text, opener);
  throw new VigilaneError("SETTINGS_INVALID", `${path} is encrypted, and there is nothing to seal it with`);
}

/** Throws where the file holds something else than when it was opened. */
function refuseChanged({ path, onDisk }: Pick<OpenedKeys, "path" | "onDisk">): void {
  if (existsSync(path) && readFileSync(path).equals(onDisk)) return;
  throw new VigilaneError(
    "SETTINGS_INVALID",
    `${path} was changed by somebody else meanwhile, and nothing is written: look at what it holds now, then try again`,
    { remedy: "`vigilane keys list` shows it." },
  );
}

/** Beside it, to the disk, then in its place: nobody ever reads half of it. Its mode stays; a new file is its owner's alone. `over`: throws where that file does not hold any more what it did when it was opened. */
export function replaceFile(path: string, bytes: Uint8Array, over?: Pick<OpenedKeys, "path" | "onDisk">): void {
  const target = existsSync(path) ? realpathSync(path) : path;
  const mode = existsSync(target) ? statSync(target).mode & 0o777 : 0o600;
  const beside = `${target}.${randomBytes(6).toString("hex")}.tmp`;
  const file = openSync(beside, "wx", mode);
  try {
    writeSync(file, bytes);
    fsyncSync(file);
    closeSync(file);
    // As late as can be: between this look and the rename there is nothing to wait for.
    if (over) refuseChanged(over);
    renameSync(beside, target);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}
