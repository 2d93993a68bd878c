/**
 * The keys' file: key groups, each one quota domain, with its windows and keys. Secrets stay in this process: what goes
 * into the store (`registration`) has none.
 */
import { existsSync } from "node:fs";
import { z } from "zod";
import { VigilaneError } from "../errors.ts";
import { KEY_GROUP_ID } from "../names.ts";
import type { Settings } from "../settings.ts";
import { readYamlFile } from "../yaml-file.ts";
import { ANSWER_TOKENS, imageRuleOf, PROMPT_TOKENS, USUAL_TOKENS } from "./token-estimate.ts";
import { DAY_MS, type QuotaWindow, sustainedRate, Windows, windowsOf, windowsText } from "./window.ts";

const Key = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,60}$/),
  /** The key itself, or `${NAME}` to take it from the environment. */
  secret: z.string().min(1),
  enabled: z.boolean().default(true),
});

const KeyGroupEntry = z.strictObject({
  id: z.string().regex(KEY_GROUP_ID, "must be 1 to 40 of a-z, 0-9 and dash"),
  provider: z.string().default("custom"),
  /** Any OpenAI-compatible server, up to and including its version. Provider "simulated": default the simulator's own. */
  baseUrl: z.url({ protocol: /^https?$/ }).optional(),
  /** Provider "simulated": default simulated-vision. */
  model: z.string().min(1).optional(),
  /** Groups of one account share their windows. Default: the group's id. */
  account: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,80}$/)
    .optional(),
  windows: Windows,
  keys: z.array(Key).min(1),
});
const KeysFile = z.strictObject({ keyGroups: z.array(KeyGroupEntry).min(1) });

export interface ApiKey {
  id: string;
  secret: string;
}

export interface KeyGroup {
  id: string;
  provider: string;
  baseUrl: string;
  model: string;
  account: string;
  windows: QuotaWindow[];
  /** Most calls in flight; 0: no limit of its own. */
  maxConcurrent: number;
  keys: ApiKey[];
  /** True: its verdicts are simulated. */
  simulated: boolean;
}

/** Calls a day over all real keys while the setting callsPerDay says nothing. */
export const DEFAULT_CALLS_PER_DAY = 200;

/** The file of key groups that these settings mean, or undefined: the simulated provider. */
export function keysFile(settings: Pick<Settings, "keys">): string | undefined {
  if (settings.keys) return settings.keys;
  return existsSync("config/keys.yaml") ? "config/keys.yaml" : undefined;
}

/** Reads, checks and completes the key groups. Every fault is reported at once with its line; none shows a secret. */
export function loadKeyGroups(settings: Settings, env: NodeJS.ProcessEnv = process.env): KeyGroup[] {
  const path = keysFile(settings);
  if (!path) return simulatedKeyGroups(settings);
  const file = readYamlFile(path, KeysFile);
  const faults: string[] = [...file.faults];
  const groups = (file.value?.keyGroups ?? []).map((entry, i) => complete(entry, i, { path, env, faults, settings }));
  for (const [i, group] of groups.entries()) {
    if (groups.findIndex((other) => other.id === group.id) !== i)
      faults.push(`${path}: two key groups have the id ${group.id}`);
  }
  if (faults.length > 0)
    throw new VigilaneError("SETTINGS_INVALID", `the keys' file is wrong:\n  - ${faults.join("\n  - ")}`);
  const cap = settings.callsPerDay ?? DEFAULT_CALLS_PER_DAY;
  if (cap > 0)
    for (const group of groups.filter(({ simulated }) => !simulated))
      group.windows.push({ name: "@callsPerDay", limit: cap, windowMs: DAY_MS });
  return groups;
}

const SIMULATED_MODEL = "simulated-vision";
const simulatorBaseUrl = ({ simulatorUrl }: Pick<Settings, "simulatorUrl">) =>
  new URL("/v1", simulatorUrl ?? "http://127.0.0.1:1").href;

/** Ten accounts of 5 calls a second and 300 a minute at the simulated provider. */
export function simulatedKeyGroups(settings: Pick<Settings, "simulatorUrl">): KeyGroup[] {
  return Array.from({ length: 10 }, (_, i) => {
    const n = String(i + 1).padStart(2, "0");
    return {
      id: `simulated-${n}`,
      provider: "simulated",
      baseUrl: simulatorBaseUrl(settings),
      model: SIMULATED_MODEL,
      account: `simulated-${n}`,
      windows: [
        { name: "requestsPerSecond", limit: 5, windowMs: 1_000 },
        { name: "requestsPerMinute", limit: 300, windowMs: 60_000 },
      ],
      maxConcurrent: 0,
      keys: [{ id: `key-${n}`, secret: `sim-key-${n}` }],
      simulated: true,
    };
  });
}

/** Calls a second that all groups together may make for long: each account's narrowest window counted once. */
export const sustainedCallsPerSecond = (groups: readonly KeyGroup[]): number => sustainedRate(groups, USUAL_TOKENS);

/** What the store keeps of a group: no secret. */
export function registration(group: KeyGroup) {
  return {
    id: group.id,
    account: group.account,
    windows: windowsText(group.windows),
    maxConcurrent: String(group.maxConcurrent),
    keys: group.keys.map((key) => key.id).join(","),
    promptTokens: String(PROMPT_TOKENS + ANSWER_TOKENS),
    imageRule: String(imageRuleOf(group.provider, group.model)),
    json: JSON.stringify({
      provider: group.provider,
      model: group.model,
      simulated: group.simulated,
      windows: group.windows,
    }),
  };
}

interface Reading {
  path: string;
  env: NodeJS.ProcessEnv;
  faults: string[];
  settings: Pick<Settings, "simulatorUrl">;
}

function complete(
  entry: z.infer<typeof KeyGroupEntry>,
  index: number,
  { path, env, faults, settings }: Reading,
): KeyGroup {
  const { windows, maxConcurrent } = windowsOf(entry.windows, entry.provider);
  const keys = entry.keys
    .filter((key) => key.enabled)
    .map((key) => {
      const reference = /^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$/.exec(key.secret)?.[1];
      if (!reference) return { id: key.id, secret: key.secret };
      const secret = env[reference];
      if (!secret) faults.push(`${path}: keyGroups.${index}, key ${key.id}: the environment has no ${reference}`);
      return { id: key.id, secret: secret ?? "" };
    });
  if (keys.length === 0) faults.push(`${path}: keyGroups.${index} (${entry.id}): every key is disabled`);
  const simulated = entry.provider === "simulated";
  const baseUrl = entry.baseUrl ?? (simulated ? simulatorBaseUrl(settings) : undefined);
  const model = entry.model ?? (simulated ? SIMULATED_MODEL : undefined);
  for (const [name, value] of Object.entries({ baseUrl, model })) {
    if (!value) faults.push(`${path}: keyGroups.${index} (${entry.id}): ${name} is missing`);
  }
  return {
    id: entry.id,
    provider: entry.provider,
    baseUrl: baseUrl ?? "",
    model: model ?? "",
    account: entry.account ?? entry.id,
    windows,
    maxConcurrent,
    keys,
    simulated,
  };
}
