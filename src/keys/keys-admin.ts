/** The keys' file as the gateway changes it: the same schema, written back with its comments, one change after the other. */
import { z } from "zod";
import { VigilaneError } from "../errors.ts";
import type { KeyGroupsFile } from "../key-groups-file.ts";
import { STRATEGIES } from "../queues/key-groups.ts";
import { PROVIDER_NAMES } from "../queues/provider-presets.ts";
import type { Settings } from "../settings.ts";
import type { DraftGroup } from "./draft.ts";
import { addKey, type Edited, removeKeys } from "./edit-keys.ts";
import { changeYaml, mergeYaml } from "./edit-yaml.ts";
import { placeOf, readKeyMemory } from "./key-memory.ts";
import { BaseUrl, Key, KeyGroupEntry, Weight } from "./keys-file.ts";
import { keysFile, readDraft, readKeySet } from "./load-key-set.ts";
import { defaultsOf } from "./provider-defaults.ts";
import { type OpenedKeys, openKeysText } from "./sealed-file.ts";
import { referenceOf, resolveSecret, showWritten } from "./secrets.ts";
import { writeKeys } from "./write-keys.ts";

/** References would let whoever may change keys read variables and files of this machine: they are written by hand. */
const Entered = Key.shape.secret.refine((text) => referenceOf(text).kind === "literal", {
  error: "must be the secret itself; references are written into the file by hand",
});
const EnteredKey = Key.extend({ secret: Entered });
const NewGroup = KeyGroupEntry.extend({ keys: z.array(EnteredKey).min(1).optional() });
/** What these hold is looked at when the whole file is. */
const Fields = z.record(z.string(), z.unknown()).nullable().optional();
const Changed = z.strictObject({
  provider: z.enum(PROVIDER_NAMES).optional(),
  baseUrl: BaseUrl.nullable().optional(),
  model: z.string().nullable().optional(),
  account: z.string().nullable().optional(),
  weight: Weight.nullable().optional(),
  region: z.string().nullable().optional(),
  quality: z.number().nullable().optional(),
  strategy: z.enum(STRATEGIES).nullable().optional(),
  price: Fields,
  capabilities: Fields,
  refusedCallsCount: z.boolean().nullable().optional(),
  windows: z.record(z.string(), z.unknown()).optional(),
  /** By id: fields of one that is there, or a new one with its secret. */
  keys: z
    .array(EnteredKey.partial({ secret: true }).extend({ weight: Weight.optional(), enabled: z.boolean().optional() }))
    .optional(),
});
type Changed = z.infer<typeof Changed>;

export function createKeysAdmin(settings: Settings, env: NodeJS.ProcessEnv = process.env): KeyGroupsFile {
  /** Changes wait for each other: each begins with what the one before has written. */
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work, work);
    last = mine.catch(() => {});
    return mine;
  };

  async function open(): Promise<OpenedKeys> {
    const path = keysFile(settings);
    if (path !== undefined) return await openKeysText(path, env);
    throw new VigilaneError("OPERATION_OFF", "this gateway has no keys' file", {
      remedy: "Make config/keys.yaml on the machine of the gateway, bridge and workers, and start them again.",
    });
  }

  /** Refused as well where this process can load the file as it is and could not after the change. */
  async function write(file: OpenedKeys, { text, done }: Edited): Promise<string> {
    const load = (one: string) =>
      readKeySet({ ...file, text: one }, settings, { env, memory: readKeyMemory(settings.data) });
    try {
      let loadsNow = true;
      try {
        load(file.text);
      } catch {
        loadsNow = false;
      }
      if (loadsNow) load(text);
      await writeKeys(file, text, settings, env);
      return done;
    } catch (error) {
      if (error instanceof VigilaneError && error.code === "SETTINGS_INVALID") throw unreadable(error.message);
      throw error;
    }
  }

  return {
    async groups() {
      const file = await open();
      return readDraft(file.path, file.text).draft.groups.map(shown);
    },
    create: (body) =>
      inTurn(async () => {
        const { id, ...group } = read(NewGroup, body);
        const file = await open();
        const { draft } = readDraft(file.path, file.text);
        if (draft.form === "flat") throw flatFile(file.path);
        if (draft.groups.some((known) => known.id === id)) throw unreadable(`there is a key group ${id} already`);
        // As it was said, without what the schema fills in.
        const said = Object.fromEntries(Object.entries(Object(body)).filter(([name]) => name in group));
        return await write(file, addKey(file, id, undefined, said));
      }),
    change: (groupId, body) =>
      inTurn(async () => {
        const fields = read(Changed, body);
        if (Object.entries(fields).every(([name, value]) => name === "keys" && (value as unknown[]).length === 0))
          throw unreadable(`nothing is said that would change key group ${groupId}`);
        const file = await open();
        const { draft } = readDraft(file.path, file.text);
        if (draft.form === "flat") throw flatFile(file.path);
        const group = known(draft.groups, groupId);
        const entered = enteredAgain(group, fields, env);
        const text = patched(file.text, group, fields, env);
        const to = readDraft(file.path, text).draft.groups.find(({ id }) => id === groupId);
        const baseUrl = to && addressOf(to);
        if (baseUrl !== undefined) {
          const about = { group: groupId, baseUrl, model: to?.model ?? "", account: to?.account ?? groupId };
          readKeyMemory(settings.data).remember([...entered].map(([keyId, secret]) => ({ ...about, keyId, secret })));
        }
        return await write(file, { text, done: `key group ${groupId} changed: ${Object.keys(fields).join(", ")}` });
      }),
    remove: (groupId, keyId) =>
      inTurn(async () => {
        const file = await open();
        known(readDraft(file.path, file.text).draft.groups, groupId, keyId);
        return await write(file, removeKeys(file, groupId, keyId));
      }),
  };
}

const addressOf = (group: DraftGroup) => group.baseUrl ?? defaultsOf(group.provider).baseUrl;

/** The secrets that came with the change, by key. Throws where the address goes elsewhere and one did not. */
function enteredAgain(group: DraftGroup, fields: Changed, env: NodeJS.ProcessEnv): Map<string, string> {
  const entered = new Map(
    (fields.keys ?? []).flatMap(({ id, secret }) => (secret === undefined ? [] : [[id, secret] as const])),
  );
  const own = fields.baseUrl === undefined ? group.baseUrl : (fields.baseUrl ?? undefined);
  const before = addressOf(group);
  const after = own ?? defaultsOf(fields.provider ?? group.provider).baseUrl;
  const moves = fields.baseUrl !== undefined || fields.provider !== undefined;
  if (!moves || (before !== undefined && after !== undefined && placeOf(before) === placeOf(after))) return entered;
  for (const key of group.keys) {
    const given = entered.get(key.id);
    const found = resolveSecret(key.secret, env);
    const isReference = referenceOf(key.secret).kind !== "literal";
    if (given === undefined || (isReference && "secret" in found && found.secret !== given)) {
      throw unreadable(
        `baseUrl goes to another address: enter the secret of key ${key.id} again (keys: [{ id, secret }])`,
      );
    }
  }
  return entered;
}

function patched(text: string, group: DraftGroup, { keys = [], ...fields }: Changed, env: NodeJS.ProcessEnv): string {
  let now = mergeYaml(text, group.place, fields);
  for (const { id, secret, ...rest } of keys) {
    const there = group.keys.find((key) => key.id === id);
    if (!there) {
      if (secret === undefined) throw unreadable(`key ${id} is new: its secret is missing`);
      now = changeYaml(now, { kind: "add", place: [...group.place, "keys"], item: { id, secret, ...rest } });
      continue;
    }
    // The same secret entered again stays the reference that it was.
    const found = resolveSecret(there.secret, env);
    const same = "secret" in found && found.secret === secret;
    now = mergeYaml(now, there.place, { ...rest, ...(secret !== undefined && !same && { secret }) });
  }
  return now;
}

function shown(group: DraftGroup) {
  const { id, provider, baseUrl, model, account, weight, strategy, region, quality, price, windows, keys } = group;
  const { capabilities, refusedCallsCount = null } = group;
  return {
    ...{ id, provider, weight, strategy, region, quality, price, windows, capabilities, refusedCallsCount },
    baseUrl: baseUrl ?? defaultsOf(provider).baseUrl ?? null,
    model: model ?? null,
    account: account ?? null,
    keys: keys.map((key) => ({
      id: key.id,
      secret: showWritten(key.secret),
      weight: key.weight,
      enabled: key.enabled,
    })),
  };
}

function known(groups: readonly DraftGroup[], groupId: string, keyId?: string): DraftGroup {
  const group = groups.find(({ id }) => id === groupId);
  if (group && (keyId === undefined || group.keys.some(({ id }) => id === keyId))) return group;
  const what = group ? `key group ${groupId} has no key of that name` : "there is no key group of that name";
  throw new VigilaneError("NOT_FOUND", what, { remedy: "GET /api/key-groups names all." });
}

function read<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) =>
    issue.code === "unrecognized_keys"
      ? `${issue.path.join(".") || "body"}: there is a field that does not belong here`
      : `${issue.path.join(".") || "body"}: ${issue.message}`,
  );
  throw unreadable(`the key group is wrong: ${faults.join("; ")}`);
}

const unreadable = (message: string) => new VigilaneError("REQUEST_UNREADABLE", message);
const flatFile = (path: string) =>
  new VigilaneError("OPERATION_OFF", `${path} has an older flat form, to which groups cannot be written`, {
    remedy: "Use `vigilane keys`, or write it as keyGroups (config/keys.example.yaml).",
  });
