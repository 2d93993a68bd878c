/** `vigilane keys …`: the keys' file, looked at and changed by people. */
import { type LoadedSettings, loadSettings } from "../config.ts";
import { VigilaneError } from "../errors.ts";
import { addKey, type Edited, type NewGroup, nextKeyId, removeKeys, setEnabled } from "../keys/edit-keys.ts";
import { type KeyBinding, readKeyMemory } from "../keys/key-memory.ts";
import { readDraft, readKeySet } from "../keys/load-key-set.ts";
import type { KeysText, OpenedKeys } from "../keys/sealed-file.ts";
import { referenceOf, resolveSecret, showSecret, showWritten } from "../keys/secrets.ts";
import { writeKeys } from "../keys/write-keys.ts";
import { windowsOf } from "../queues/window.ts";
import type { Settings } from "../settings.ts";
import { askSecrets } from "./ask-secret.ts";
import { type KeysCall, numberOf, openFile } from "./keys-call.ts";
import { isKeysCommand, KEYS_COMMANDS, type KeysCommand, keysHelp } from "./keys-help.ts";
import { decryptKeys, editKeys, encryptKeys } from "./keys-sealed.ts";
import { table } from "./table.ts";

const WINDOW_FLAGS = {
  "requests-per-second": "requestsPerSecond",
  "requests-per-minute": "requestsPerMinute",
  "requests-per-day": "requestsPerDay",
  "tokens-per-minute": "tokensPerMinute",
  "max-concurrent": "maxConcurrent",
} as const;
const OWN_FLAGS: Record<string, "string" | "boolean"> = {
  id: "string",
  secret: "string",
  weight: "string",
  provider: "string",
  "base-url": "string",
  account: "string",
  "no-key": "boolean",
  identity: "string",
  keep: "boolean",
  from: "string",
  group: "string",
  json: "boolean",
  "probe-sharing": "boolean",
  "most-calls": "string",
  yes: "boolean",
  ...Object.fromEntries(Object.keys(WINDOW_FLAGS).map((flag) => [flag, "string" as const])),
};

/** Resolves with the exit code; nothing is 0. */
const COMMANDS: Record<KeysCommand, (call: KeysCall) => Promise<unknown>> = {
  list,
  add,
  enable: (call) => change(call, (file, group, key) => setEnabled(file, group, key, true)),
  disable: (call) => change(call, (file, group, key) => setEnabled(file, group, key, false)),
  remove: (call) => change(call, removeKeys),
  confirm,
  // It alone needs what calls providers.
  verify: async (call) => (await import("./keys-verify.ts")).verifyKeys(call),
  encrypt: encryptKeys,
  decrypt: decryptKeys,
  edit: editKeys,
};

/** Resolves with the exit code. */
export async function keys(argv: readonly string[]): Promise<number> {
  const [command, ...rest] = argv;
  if (!isKeysCommand(command)) {
    process.stderr.write(
      `${command === undefined ? "" : `vigilane keys: there is no command "${command}".\n\n`}${keysHelp(undefined)}`,
    );
    return 2;
  }
  process.stdout.on("error", () => {}); // whoever read us has left (`| head`)
  const loaded = loadSettings(rest, process.env, OWN_FLAGS);
  refuseFurther(command, loaded.operands.length);
  const code = await COMMANDS[command](callOf(loaded));
  return typeof code === "number" ? code : 0;
}

/** What would be passed over may be what was meant most. None is shown: it may be a secret. */
function refuseFurther(command: KeysCommand, given: number): void {
  const { usage, operands } = KEYS_COMMANDS[command];
  if (given <= operands) return;
  throw new VigilaneError(
    "SETTINGS_INVALID",
    `keys ${command} takes ${operands === 0 ? "no name" : `${operands} name${operands > 1 ? "s" : ""} at most`}, and ${given} ${given === 1 ? "is" : "are"} given; nothing is done`,
    { remedy: `vigilane ${usage}` },
  );
}

function callOf({ settings, operands, own, origins }: LoadedSettings): KeysCall {
  // --model is a setting too, the detector's.
  const texts: LoadedSettings["own"] = origins.get("model")?.startsWith("flag")
    ? { ...own, model: settings.model }
    : own;
  return {
    settings,
    operands,
    flag: (name) => (typeof texts[name] === "string" ? texts[name] : undefined),
    given: (name) => texts[name] === true,
    env: process.env,
  };
}

async function list({ settings, env }: KeysCall): Promise<void> {
  const file = await openFile(settings, env);
  const { draft } = readDraft(file.path, file.text);
  const rows = draft.groups.flatMap(({ id, keys, windows, model, provider }) => {
    const { windows: limits, maxConcurrent } = windowsOf(windows, provider);
    const shown = [
      ...limits.map(({ name, limit }) => `${name} ${limit}`),
      ...(maxConcurrent > 0 ? [`maxConcurrent ${maxConcurrent}`] : []),
    ];
    const about = [shown.join(", "), `${provider}, ${model ?? "no model"}`];
    if (keys.length === 0) return [[id, "-", "none needed", "yes", ...about]];
    return keys.map((key) => [id, key.id, shownSecret(key.secret, env), key.enabled ? "yes" : "no", ...about]);
  });
  say(table([["GROUP", "KEY", "SECRET", "ENABLED", "WINDOWS", "PROVIDER, MODEL"], ...rows]));
  await sayFaults(file, settings, env);
}

/** As it is written, and for a reference what it stands for here. */
function shownSecret(written: string, env: NodeJS.ProcessEnv): string {
  if (referenceOf(written).kind === "literal") return showSecret(written);
  const found = resolveSecret(written, env);
  return `${showWritten(written)} (${"secret" in found ? showSecret(found.secret) : "not here"})`;
}

async function add(call: KeysCall): Promise<void> {
  const { settings, env, flag, given } = call;
  const [groupId] = needOperand(call, "vigilane keys add GROUP");
  const group = newGroupOf(call);
  const weight = numberOf(call, "weight");
  const ofKey = ["id", "weight", "secret"].filter((name) => flag(name) !== undefined);
  if (given("no-key") && ofKey.length > 0) {
    throw new VigilaneError(
      "SETTINGS_INVALID",
      `--${ofKey.join(" and --")} say something of a key, and --no-key that there is none`,
      {
        remedy: "Leave one of them out; a group's own weight is written into the file by hand.",
      },
    );
  }
  const id = flag("id") ?? nextKeyId(await openFile(settings, env), groupId);
  const secret = given("no-key") ? undefined : await secretOf(call, id);
  // Only now: typing takes a while.
  const file = await openFile(settings, env);
  const key = secret === undefined ? undefined : { id, secret, ...(weight !== undefined && { weight }) };
  const edited = addKey(file, groupId, key, group);
  const typed = secret !== undefined && referenceOf(secret).kind === "literal";
  await write(file, edited, call, () => {
    // Whoever has typed it has entered it for this address.
    if (typed)
      remember(call, { path: file.path, text: edited.text }, groupId, (keyId) => (keyId === id ? secret : undefined));
  });
}

async function secretOf({ flag }: KeysCall, id: string): Promise<string> {
  const given = flag("secret");
  if (given === undefined) return await asked([`Secret of key ${id}`]).then(([secret = ""]) => secret);
  if (referenceOf(given).kind === "literal") {
    throw new VigilaneError("SETTINGS_INVALID", "--secret takes no secret: the command line is seen by others", {
      remedy:
        "Leave it out and type the secret at the prompt, or give a reference to a variable or a file (keys add --help).",
    });
  }
  return given;
}

function newGroupOf(call: KeysCall): NewGroup | undefined {
  const { flag } = call;
  const windows = Object.fromEntries(
    Object.entries(WINDOW_FLAGS).flatMap(([name, field]) => {
      const value = numberOf(call, name);
      return value === undefined ? [] : [[field, value]];
    }),
  );
  const said = {
    provider: flag("provider"),
    baseUrl: flag("base-url"),
    model: flag("model"),
    account: flag("account"),
  };
  const fields = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
  if (Object.keys(fields).length === 0 && Object.keys(windows).length === 0) return undefined;
  return { ...fields, windows };
}

async function change(call: KeysCall, edit: (file: KeysText, group: string, key: string | undefined) => Edited) {
  const [group, key] = needOperand(call, "vigilane keys enable|disable|remove GROUP [KEY]");
  const file = await openFile(call.settings, call.env);
  await write(file, edit(file, group, key), call);
}

async function write(
  file: OpenedKeys,
  { text, done }: Edited,
  { settings, env }: KeysCall,
  written = () => {},
): Promise<void> {
  if (text !== file.text) await writeKeys(file, text, settings, env);
  written();
  say(`${done} (${file.path})`);
  await sayFaults({ ...file, text }, settings, env);
}

/** The running system may know more than this shell: what only it can decide is no reason not to write. */
async function sayFaults(file: KeysText, settings: Settings, env: NodeJS.ProcessEnv): Promise<void> {
  try {
    for (const notice of readKeySet(file, settings, { env, memory: readKeyMemory(settings.data) }).notices) say(notice);
  } catch (error) {
    if (!(error instanceof VigilaneError)) throw error;
    const faults = error.message.split("\n").slice(1);
    say(`As seen from here it would not load:\n${faults.length > 0 ? faults.join("\n") : error.message}`);
  }
}

async function confirm(call: KeysCall): Promise<void> {
  const { settings, env } = call;
  const [groupId] = needOperand(call, "vigilane keys confirm GROUP");
  const file = await openFile(settings, env);
  const { draft } = readDraft(file.path, file.text);
  const group = draft.groups.find(({ id }) => id === groupId);
  if (!group) throw new VigilaneError("SETTINGS_INVALID", `there is no key group ${groupId} in ${file.path}`);
  const meant = group.keys.filter((key) => key.enabled);
  const entered = await asked(meant.map((key) => `Secret of key ${key.id}`));
  for (const [i, key] of meant.entries()) {
    const found = resolveSecret(key.secret, env);
    if ("secret" in found && found.secret !== entered[i]) {
      throw new VigilaneError("SETTINGS_INVALID", `what was entered is not the secret of key ${key.id}`, {
        remedy: "Enter the secret that the file means, or give the group a new one.",
      });
    }
  }
  const secretsById = new Map(meant.map((key, i) => [key.id, entered[i] ?? ""]));
  const place = remember(call, file, groupId, (id) => secretsById.get(id));
  say(`key group ${groupId}: ${meant.map(({ id }) => id).join(", ")} may be sent to ${place}`);
}

/** Takes these secrets for entered for their group's address. Returns that address. */
function remember(
  { settings, env }: KeysCall,
  file: KeysText,
  groupId: string,
  secretFor: (keyId: string) => string | undefined,
): string {
  const set = readKeySet(file, settings, { env, memory: null, asWritten: true });
  const group = set.groups.find(({ id }) => id === groupId);
  if (!group) return "";
  const { baseUrl, model, account } = group;
  const bindings = group.keys.flatMap(({ id: keyId }): KeyBinding[] => {
    const secret = secretFor(keyId);
    return secret === undefined ? [] : [{ group: groupId, keyId, secret, baseUrl, model, account }];
  });
  readKeyMemory(settings.data).remember(bindings);
  return baseUrl;
}

async function asked(questions: readonly string[]): Promise<string[]> {
  const asking = askSecrets();
  try {
    const answers: string[] = [];
    for (const question of questions) answers.push(await asking.ask(question));
    return answers;
  } finally {
    asking.close();
  }
}

function needOperand({ operands }: KeysCall, usage: string): [string, string | undefined] {
  const [first, second] = operands;
  if (first !== undefined) return [first, second];
  throw new VigilaneError("SETTINGS_INVALID", "a key group is to be named", { remedy: usage });
}

const say = (text: string) => void process.stdout.write(`${text}\n`);
