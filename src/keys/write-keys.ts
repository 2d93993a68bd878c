/** Writes the keys' file: only what would load, encrypted where it was, and whole or not at all. */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";
import { readKeySet } from "./load-key-set.ts";
import { isSealed, openerFrom, seal } from "./sealed-file.ts";

/** Rejects with every fault, and writes nothing, where the text would not load. */
export async function writeKeys(path: string, text: string, settings: Settings, env: NodeJS.ProcessEnv): Promise<void> {
  readKeySet({ path, text }, settings, { env, memory: null, asWritten: true });
  if (!isSealed(path)) {
    replaceFile(path, Buffer.from(text));
    return;
  }
  const opener = openerFrom(env);
  if (!opener)
    throw new VigilaneError("SETTINGS_INVALID", `${path} is encrypted, and there is nothing to seal it with`);
  replaceFile(path, await seal(text, opener));
}

/** Beside it, to the disk, then in its place: nobody ever reads half of it. Its mode stays; a new file is its owner's alone. */
export function replaceFile(path: string, bytes: Uint8Array): void {
  const target = existsSync(path) ? realpathSync(path) : path;
  const mode = existsSync(target) ? statSync(target).mode & 0o777 : 0o600;
  const beside = `${target}.${randomBytes(6).toString("hex")}.tmp`;
  const file = openSync(beside, "wx", mode);
  try {
    writeSync(file, bytes);
    fsyncSync(file);
    closeSync(file);
    renameSync(beside, target);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}
