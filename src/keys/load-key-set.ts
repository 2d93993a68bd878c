/** The keys' file, found, opened, read, checked and completed: the one way to a key set. */
import { existsSync } from "node:fs";
import { VigilaneError } from "../errors.ts";
import {
  DEFAULT_CALLS_PER_DAY,
  DEFAULT_ROUTING,
  dayCap,
  type KeyGroup,
  type Routing,
  simulatedKeyGroups,
} from "../queues/key-groups.ts";
import type { Settings } from "../settings.ts";
import { parseYamlText, type YamlText } from "../yaml-file.ts";
import { completeGroups } from "./complete-groups.ts";
import { type Draft, type KeyPolicy, USUAL_POLICY } from "./draft.ts";
import { flatForm, readFlatKeys } from "./flat-keys.ts";
import { type KeyBinding, type KeyMemory, memoryFile, readKeyMemory } from "./key-memory.ts";
import { readKeyGroups } from "./keys-file.ts";
import { type KeysText, openKeysText, SEALED } from "./sealed-file.ts";

/** Everything that a keys' file means. */
export interface KeySet {
  /** Undefined: there is none, and the simulated provider judges. */
  file: string | undefined;
  groups: KeyGroup[];
  /** How a group is chosen for a task. */
  routing: Routing;
  /** How calls are tried again and groups rest; only older files say it, else it is the usual one. */
  policy: KeyPolicy;
  /** To be said at load, a line each; no faults. */
  notices: string[];
  /** Files whose change may change the set. */
  watched: string[];
  /** Which secret goes where: for the memory alone. */
  bindings: KeyBinding[];
}

const DEFAULT_FILE = "config/keys.yaml";
/** With fewer, one refusal stops much of the work. */
const ENOUGH_KEYS = 3;

/**
 * The file of key groups that these settings mean, or undefined: the simulated provider. Where the plain file is not there,
 * the encrypted one beside it.
 */
export function keysFile({ keys }: Pick<Settings, "keys">): string | undefined {
  const plain = keys ?? DEFAULT_FILE;
  if (existsSync(plain)) return plain;
  if (existsSync(`${plain}${SEALED}`)) return `${plain}${SEALED}`;
  return keys;
}

export interface LoadOptions {
  env?: NodeJS.ProcessEnv;
  /** Default: the data folder's. Null: none, every address is right. */
  memory?: KeyMemory | null;
  /** Secrets are not looked for: is the file right by itself, wherever it is used? Default false. */
  asWritten?: boolean;
}

/**
 * Reads, checks and completes the key groups. Rejects with one SETTINGS_INVALID that holds every fault, each with its line;
 * none shows a secret. Nothing is remembered by it: `rememberKeys` does that where calls are made.
 */
export async function loadKeySet(settings: Settings, { env = process.env, memory }: LoadOptions = {}): Promise<KeySet> {
  const path = keysFile(settings);
  if (path === undefined) return simulatedKeySet(settings);
  const text = await openKeysText(path, env);
  return readKeySet(text, settings, { env, memory: memory === undefined ? readKeyMemory(settings.data) : memory });
}

/** As above, of a text that is already open. */
export function readKeySet(
  { path, text, sealedWith }: KeysText,
  settings: Settings,
  { env = process.env, memory, asWritten = false }: LoadOptions = {},
): KeySet {
  const { yaml, draft } = readDraft(path, text);
  const done = completeGroups(draft, yaml, { env, settings, memory: memory ?? undefined, asWritten });
  const faults = [...draft.faults, ...done.faults];
  if (faults.length > 0) throw faultyFile(faults);
  const cap = settings.callsPerDay ?? DEFAULT_CALLS_PER_DAY;
  if (cap > 0) for (const group of done.groups.filter(({ simulated }) => !simulated)) group.windows.push(dayCap(cap));
  return {
    file: path,
    groups: done.groups,
    routing: draft.routing,
    policy: draft.policy,
    notices: [...draft.notices, ...done.notices].map((notice) => `${path}: ${notice}`),
    watched: [path, ...(sealedWith ? [sealedWith] : []), memoryFile(settings.data), ...new Set(done.secretFiles)],
    bindings: done.bindings,
  };
}

/** What the text says, before secrets are looked for. Throws where it is no YAML or of no known form. */
export function readDraft(path: string, text: string): { yaml: YamlText; draft: Draft } {
  const yaml = parseYamlText(path, text);
  if (yaml.faults.length > 0) throw faultyFile(yaml.faults);
  const raw = Object(yaml.raw) as Record<string, unknown>;
  const flat = "keyGroups" in raw ? undefined : flatForm(raw);
  if (flat) return { yaml, draft: readFlatKeys(yaml, flat) };
  if ("keyGroups" in raw) return { yaml, draft: readKeyGroups(yaml) };
  throw faultyFile([
    yaml.fault([], "holds neither keyGroups nor the older api_keys or keys: begin with config/keys.example.yaml"),
  ]);
}

export const faultyFile = (faults: readonly string[]) =>
  new VigilaneError("SETTINGS_INVALID", `the keys' file is wrong:\n  - ${faults.join("\n  - ")}`, {
    remedy: "Correct each line that is named; config/keys.example.yaml explains every field.",
  });

/** From now on these secrets belong to these places. To be called where calls are made, once a set is in use. */
export function rememberKeys({ bindings }: KeySet, settings: Pick<Settings, "data">): void {
  if (bindings.length > 0) readKeyMemory(settings.data).remember(bindings);
}

function simulatedKeySet(settings: Settings): KeySet {
  return {
    file: undefined,
    groups: simulatedKeyGroups(settings),
    routing: DEFAULT_ROUTING,
    policy: USUAL_POLICY,
    notices: [],
    watched: [],
    bindings: [],
  };
}

/** What a person should know of a set that is otherwise right. */
export function fewKeysWarning({ groups, file }: Pick<KeySet, "groups" | "file">): string | undefined {
  const keys = groups.reduce((sum, group) => sum + group.keys.length, 0);
  if (keys >= ENOUGH_KEYS) return undefined;
  return `Only ${keys} usable key${keys === 1 ? "" : "s"} in ${file ?? "the simulated set"}: while one is refused or rests, ${keys === 1 ? "nothing" : "half"} is judged. ${ENOUGH_KEYS} or more, of accounts of their own, carry on.`;
}
