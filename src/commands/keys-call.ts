/** One call of `vigilane keys …`: what every command of it is handed. */
import { VigilaneError } from "../errors.ts";
import { keysFile } from "../keys/load-key-set.ts";
import { type OpenedKeys, openKeysText } from "../keys/sealed-file.ts";
import type { Settings } from "../settings.ts";

export interface KeysCall {
  settings: Settings;
  /** What stands behind the command. */
  operands: string[];
  /** A flag's text. */
  flag(name: string): string | undefined;
  /** A flag without a value was given. */
  given(name: string): boolean;
  env: NodeJS.ProcessEnv;
}

/** The keys' file as text; SETTINGS_INVALID where there is none. */
export async function openFile(settings: Settings, env: NodeJS.ProcessEnv): Promise<OpenedKeys> {
  const path = keysFile(settings);
  if (path !== undefined) return await openKeysText(path, env);
  throw new VigilaneError("SETTINGS_INVALID", "there is no keys' file: neither config/keys.yaml nor --keys FILE", {
    remedy: "Begin with config/keys.example.yaml.",
  });
}

export function numberOf({ flag }: KeysCall, name: string): number | undefined {
  const text = flag(name);
  if (text === undefined) return undefined;
  if (text.trim() !== "" && Number.isFinite(Number(text))) return Number(text);
  throw new VigilaneError("SETTINGS_INVALID", `flag --${name}: must be a number`);
}
