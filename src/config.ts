/**
 * One schema for all settings. A setting comes from a flag, else the environment, else `config/vigilane.yaml`, else its
 * default; every fault is reported at once, each with where the value came from.
 */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { VigilaneError } from "./errors.ts";

export const ROLES = ["store", "provider", "detector", "bridge", "worker", "results", "gateway"] as const;
export type Role = (typeof ROLES)[number];

const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;

/** Reads "8800" and 8800 alike; refuses "" and "abc". */
const number = () => z.preprocess((v) => (typeof v === "string" && v.trim() !== "" ? Number(v) : v), z.number());
const flag = () =>
  z.preprocess(
    (v) => (v === "true" || v === "1" || v === "yes" ? true : v === "false" || v === "0" || v === "no" ? false : v),
    z.boolean(),
  );
const list = () =>
  z.preprocess(
    (v) =>
      typeof v === "string"
        ? v
            .split(",")
            .map((part) => part.trim())
            .filter(Boolean)
        : v,
    z.array(z.string()),
  );

/** A host's name or address as a Host header has it, with or without a port: cams.example.org, [::1]:8800. */
export const HOST_NAME = /^(\[[0-9a-f:.]+\]|[^:/?#@[\]\s]+)(:\d{1,5})?$/i;

/** Cache for downloads, outside any repository: XDG on Linux and others, the system's own places on macOS and Windows. */
export function defaultCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, "vigilane");
  if (process.platform === "win32" && env.LOCALAPPDATA) return join(env.LOCALAPPDATA, "vigilane", "cache");
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "vigilane");
  return join(homedir(), ".cache", "vigilane");
}

/**
 * Each setting: meaning, unit, default and special values, said once here: `--help` shows these words. The flag is the
 * name in kebab case; the variable VIGILANE_ and the name in capitals.
 */
export const Settings = z.object({
  data: z
    .string()
    .min(1)
    .default("./data")
    .describe("Folder of everything that this machine keeps: store, images, token, lock. Default ./data."),
  cache: z
    .string()
    .min(1)
    .default(() => defaultCacheFolder())
    .describe(
      "Where downloads (model, demo footage, ffmpeg) are kept. Default: the system's cache folder + /vigilane.",
    ),
  port: number()
    .pipe(z.number().int().min(0).max(65_535))
    .default(8800)
    .describe("TCP port of the gateway. Default 8800; 0: any free one."),
  host: z
    .string()
    .min(1)
    .default("127.0.0.1")
    .describe(
      "Address the gateway listens on. Default 127.0.0.1. Another one than loopback needs VIGILANE_TOKEN, also to look.",
    ),
  allowedHosts: list()
    .pipe(z.array(z.string().regex(HOST_NAME, "host names only (cams.example.org), without https:// and path")))
    .default([])
    .describe("Names under which the gateway may be asked for, besides loopback's. Default none."),
  token: z
    .string()
    .min(16, "has fewer than 16 characters")
    .optional()
    .describe(
      "Token for state-changing calls. Default: made at first start and kept in the data folder's file `token`.",
    ),
  roles: list()
    .pipe(z.array(z.enum(ROLES)))
    .optional()
    .describe("Which roles run here. Default: all that are needed."),
  redisUrl: z
    .url({ protocol: /^rediss?$/ })
    .optional()
    .describe("Redis to use instead of starting a store. Default: none, a store is started."),
  store: z
    .enum(["auto", "redis", "wasm"])
    .default("auto")
    .describe(
      "How the store that we start ourselves runs: redis (redis-server or valkey-server on the PATH), wasm (in memory), or auto: redis when it is there.",
    ),
  kafkaBrokers: list().default([]).describe("Kafka brokers; not supported yet: set, it is refused at start."),
  cameras: z
    .string()
    .optional()
    .describe(
      "File of cameras (config/cameras.example.yaml). Default config/cameras.yaml where there is one, else the demo's four.",
    ),
  source: z
    .string()
    .optional()
    .describe("One camera: a file, rtsp://, http(s):// (MJPEG, HLS), a folder of images, /dev/videoN."),
  keys: z
    .string()
    .optional()
    .describe(
      "File of key groups (config/keys.example.yaml). Default config/keys.yaml where there is one, else the simulated provider.",
    ),
  frameIntervalMs: number()
    .pipe(z.number().min(40).max(3_600_000))
    .default(1000)
    .describe("Look at each camera every so many milliseconds, where the camera says nothing else. Default 1000."),
  freshnessSeconds: number()
    .pipe(z.number().min(0).max(3600))
    .default(10)
    .describe(
      "Seconds after capture for which a verdict is worth having, where the camera says nothing else. Default 10; 0: nothing expires and nothing is superseded.",
    ),
  reuseSeconds: number()
    .pipe(z.number().min(0).max(3600))
    .default(0)
    .describe(
      "A group that looks as it did (the same tracks, a near-equal crop) gets its last verdict again for so many seconds, where the camera says nothing else; then it is judged anew. Default 0: every group is judged.",
    ),
  model: z
    .string()
    .default("yolo11n")
    .describe("Detector's model, by name in the model table, or the path of an ONNX file. Default yolo11n."),
  detectorThreads: number()
    .pipe(z.number().int().min(1).max(64))
    .optional()
    .describe("Detector's worker threads. Default: one for each core."),
  callTimeoutSeconds: number()
    .pipe(z.number().min(1).max(600))
    .default(8)
    .describe("Seconds that one call of the LLM may take at most; the task's deadline may make it shorter. Default 8."),
  maxAttempts: number()
    .pipe(z.number().int().min(1).max(10))
    .default(3)
    .describe("Calls a task may cost at most, the re-ask after an unreadable answer not counted. Default 3."),
  maxWaiting: number()
    .pipe(z.number().int().min(1).max(1_000_000))
    .default(5000)
    .describe("Most tasks in the waiting room; beyond it the least urgent one expires (room_full). Default 5000."),
  callsPerDay: number()
    .pipe(z.number().int().min(0))
    .optional()
    .describe(
      "Calls a day over all real keys until you set a number of your own; unset with real keys: 200, said at start. 0: no cap.",
    ),
  imagesMaxBytes: number()
    .pipe(z.number().int().min(1_000_000))
    .default(2 * 1024 ** 3)
    .describe("Bytes that crops may take on disk. Default 2 GiB."),
  topicRetentionHours: number()
    .pipe(z.number().min(0.01).max(168))
    .default(1)
    .describe("Hours for which the topics keep messages. Default 1."),
  topicMaxBytes: number()
    .pipe(z.number().int().min(1_000_000))
    .default(256 * 1024 ** 2)
    .describe("Bytes that one topic may take in the store. Default 256 MiB."),
  olderConsumers: flag()
    .default(false)
    .describe(
      "Older consumers of the same results topic are there: revisions go to their own topic, outcomes without a call wait for `detection:<id>`. Default false.",
    ),
  simulatorUrl: z
    .url()
    .optional()
    .describe("Base URL of the simulated provider; set by the supervisor for the other roles."),
  simulator: z
    .string()
    .optional()
    .describe(
      "What the simulated provider does; see config/simulator.example.yaml. Default: ten accounts of 5 calls a second.",
    ),
  logLevel: z.enum(LOG_LEVELS).default("info").describe("trace to fatal, or silent. Default info."),
  logFormat: z
    .enum(["pretty", "json"])
    .default("pretty")
    .describe(
      "How log lines are shown: pretty (for people) or json (one object a line, for machines). Default pretty.",
    ),
  for: number()
    .pipe(z.number().min(1))
    .optional()
    .describe("Run so many seconds, drain, report and leave. Default: run until stopped."),
  report: z.string().optional().describe("Write the report to this file as JSON. Needs for; `load` always has an end."),
});
export type Settings = z.infer<typeof Settings>;

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
  }
  if (faults.length > 0 || !parsed.success) {
    throw new VigilaneError(
      "SETTINGS_INVALID",
      `${faults.length} setting${faults.length === 1 ? " is" : "s are"} wrong:\n  - ${faults.join("\n  - ")}`,
    );
  }
  const settings = parsed.data;
  settings.data = resolve(settings.data);
  settings.cache = resolve(settings.cache);
  return { settings, origins, operands, own };
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

const shown = (name: string, value: unknown) =>
  name === "token"
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
