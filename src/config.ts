/**
 * Settings are read: each from a flag, else the environment, else `config/vigilane.yaml`, else its default; every fault is
 * reported at once, each with where the value came from. settings.ts has the schema.
 */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { parse as parseYaml } from "yaml";
import { VigilaneError } from "./errors.ts";
import { kafkaSecurityFaults } from "./kafka-security-settings.ts";
import { Settings } from "./settings.ts";
import { topicNameFaults } from "./topic-names.ts";

const NAMES = Object.keys(Settings.shape) as (keyof Settings)[];

/** Every setting with its flag, its variable and its meaning, in the order of their declaration. */
export function describeSettings(): { name: keyof Settings; flag: string; variable: string; meaning: string }[] {
  return NAMES.map((name) => ({
    name,
    flag: `--${kebab(name)}`,
    variable: WELL_KNOWN[name] ?? variable(name),
    meaning: Settings.shape[name].description ?? "",
  }));
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
const variable = (name: string) => `VIGILANE_${kebab(name).replaceAll("-", "_").toUpperCase()}`;

/** Variables of the field that are read besides VIGILANE_…, the latter winning. */
const WELL_KNOWN: Partial<Record<keyof Settings, string>> = { redisUrl: "REDIS_URL", kafkaBrokers: "KAFKA_BROKERS" };

export interface LoadedSettings {
  settings: Settings;
  /** For each setting that is not the default: where it came from, for people. */
  origins: Map<string, string>;
  /** Arguments that are no flags: the command's own operands. */
  operands: string[];
  /** Flags of the command itself, as text. */
  own: Record<string, string | boolean | undefined>;
}

/**
 * Reads flags (`--port 8801`, `--port=8801`), environment and file. `ownFlags` are the command's own, beside the settings.
 * Throws one SETTINGS_INVALID that lists every fault.
 */
export function loadSettings(
  argv: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  ownFlags: Record<string, "string" | "boolean"> = {},
): LoadedSettings {
  const faults: string[] = [];
  const raw: Record<string, unknown> = {};
  const origins = new Map<string, string>();
  const take = (name: string, value: unknown, origin: string) => {
    raw[name] = value;
    origins.set(name, origin);
  };

  const file = env.VIGILANE_CONFIG ?? "config/vigilane.yaml";
  if (existsSync(file)) readFile(file, take, faults);
  else if (env.VIGILANE_CONFIG) faults.push(`VIGILANE_CONFIG: there is no file ${file}`);

  for (const name of NAMES) {
    const candidates = [WELL_KNOWN[name], variable(name)].filter((v) => v !== undefined);
    for (const v of candidates) if (env[v] !== undefined && env[v] !== "") take(name, env[v], `environment ${v}`);
  }

  const own: LoadedSettings["own"] = {};
  const { operands, flags } = readFlags(argv, ownFlags, faults);
  for (const [flagName, value] of Object.entries(flags)) {
    const name = NAMES.find((n) => kebab(n) === flagName);
    if (name) take(name, value, `flag --${flagName}`);
    else own[flagName] = value;
  }

  const parsed = Settings.safeParse(raw);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const name = String(issue.path[0]);
      faults.push(`${name} = ${shown(name, raw[name])} (from ${origins.get(name) ?? "default"}): ${issue.message}`);
    }
  } else {
    for (const { setting, why } of [...kafkaSecurityFaults(parsed.data), ...topicNameFaults(parsed.data)]) {
      const value = shown(setting, parsed.data[setting]);
      faults.push(`${setting} = ${value} (from ${origins.get(setting) ?? "default"}): ${why}`);
    }
  }
  if (faults.length > 0 || !parsed.success) {
    throw wrongSettings(faults);
  }
  const settings = parsed.data;
  settings.data = resolve(settings.data);
  settings.cache = resolve(settings.cache);
  return { settings, origins, operands, own };
}

/** One SETTINGS_INVALID of all that is wrong. `remedy`: another one than to look at each setting. */
export function wrongSettings(faults: readonly string[], remedy?: string): VigilaneError {
  const what = `${faults.length} ${faults.length === 1 ? "setting is" : "settings are"} wrong`;
  return new VigilaneError("SETTINGS_INVALID", `${what}:\n  - ${faults.join("\n  - ")}`, { ...(remedy && { remedy }) });
}

/** The environment that makes a child process read the same settings. */
export function settingsAsEnvironment(settings: Settings): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of NAMES) {
    const value = settings[name];
    if (value === undefined) continue;
    env[variable(name)] = Array.isArray(value) ? value.join(",") : String(value);
  }
  return env;
}

function readFile(file: string, take: (name: string, value: unknown, origin: string) => void, faults: string[]) {
  let values: unknown;
  try {
    values = parseYaml(readFileSync(file, "utf8")) ?? {};
  } catch (error) {
    faults.push(`${file}: ${error instanceof Error ? error.message : String(error)}`);
    return;
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    faults.push(`${file}: must hold settings as "name: value"`);
    return;
  }
  for (const [name, value] of Object.entries(values)) {
    if ((NAMES as string[]).includes(name)) take(name, value, `file ${file}`);
    else faults.push(`${file}: there is no setting "${name}"${nearest(name, NAMES)}`);
  }
}

function readFlags(argv: readonly string[], ownFlags: Record<string, "string" | "boolean">, faults: string[]) {
  const options: Record<string, { type: "string" | "boolean" }> = {};
  for (const name of NAMES) options[kebab(name)] = { type: "string" };
  for (const [name, type] of Object.entries(ownFlags)) options[name] = { type };
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true, allowPositionals: true });
  const flags: Record<string, string | boolean> = {};
  const operands: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") operands.push(token.value);
    if (token.kind !== "option") continue;
    const option = options[token.name];
    if (!option)
      faults.push(`flag ${token.rawName}: there is no such flag${nearest(token.name, Object.keys(options), "--")}`);
    else if (option.type === "boolean") flags[token.name] = true;
    else if (token.value === undefined) faults.push(`flag ${token.rawName}: needs a value`);
    else flags[token.name] = token.value;
  }
  return { flags, operands };
}

const SECRETS = ["token", "kafkaPassword", "kafkaKeyPassphrase", "s3SecretAccessKey"];

const shown = (name: string, value: unknown) =>
  SECRETS.includes(name)
    ? "[redacted]"
    : name === "redisUrl"
      ? JSON.stringify(value)
          .replace(/\/\/.*@/, "//…@")
          .replace(/[?#].*/, '?…"')
      : JSON.stringify(value);

function nearest(name: string, candidates: readonly string[], prefix = ""): string {
  const best = candidates.find((c) => c.toLowerCase().startsWith(name.toLowerCase().slice(0, 4)));
  return best ? `; did you mean ${prefix}${best}?` : "";
}
