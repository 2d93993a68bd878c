/** Makes key groups of what a keys' file says: secrets found, defaults filled in, faults of the whole collected. */
import { type ApiKey, type KeyGroup, MOST_KEYS, SIMULATED_MODEL, simulatorBaseUrl } from "../queues/key-groups.ts";
import { windowsOf } from "../queues/window.ts";
import type { Settings } from "../settings.ts";
import type { YamlText } from "../yaml-file.ts";
import type { Draft, DraftGroup, DraftKey } from "./draft.ts";
import { type KeyBinding, type KeyMemory, placeOf } from "./key-memory.ts";
import { defaultsOf } from "./provider-defaults.ts";
import { NO_SECRET, type Resolved, referenceOf, resolveSecret } from "./secrets.ts";

export interface Completion {
  groups: KeyGroup[];
  bindings: KeyBinding[];
  /** Files that secrets were read from, or should have been. */
  secretFiles: string[];
  faults: string[];
  notices: string[];
}

export interface Surroundings {
  env: NodeJS.ProcessEnv;
  settings: Pick<Settings, "simulatorUrl">;
  /** Undefined: nothing is remembered, and every address is right. */
  memory: KeyMemory | undefined;
  /** Secrets are not looked for: the file is to be right by itself, wherever it is used. */
  asWritten?: boolean;
}

export function completeGroups(draft: Draft, yaml: YamlText, around: Surroundings): Completion {
  const done: Completion = { groups: [], bindings: [], secretFiles: [], faults: [], notices: [] };
  done.faults.push(...twiceIn(draft, yaml));
  for (const entry of draft.groups) complete(entry, draft, yaml, around, done);
  for (const { keys } of draft.halfRead) secretsOf(keys, yaml, around, done);
  if (done.faults.length === 0 && draft.faults.length === 0) {
    done.faults.push(...foreignPlaces(done.bindings, draft, yaml, around.memory));
    const [first] = draft.groups;
    if (first && done.groups.every((group) => group.keys.length === 0))
      done.faults.push(yaml.fault(first.place, "every key is disabled: enable one (vigilane keys enable)"));
  }
  done.notices.push(...sharedSecrets(done.bindings));
  return done;
}

function complete(entry: DraftGroup, draft: Draft, yaml: YamlText, around: Surroundings, done: Completion): void {
  const defaults = defaultsOf(entry.provider);
  const simulated = entry.provider === "simulated";
  const given = entry.baseUrl ?? defaults.baseUrl;
  const baseUrl = given ?? (simulated ? simulatorBaseUrl(around.settings) : undefined);
  const model = entry.model ?? (simulated ? SIMULATED_MODEL : undefined);
  const where = (what: string) => done.faults.push(yaml.fault(entry.place, `key group ${entry.id}: ${what}`));
  if (baseUrl === undefined) where("baseUrl is missing: the server's address, up to and including its version");
  if (model === undefined) where("model is missing: the name of a model that sees pictures");
  const keys = entry.keys.length === 0 && !defaults.needsKey ? [KEYLESS] : secretsOf(entry.keys, yaml, around, done);
  if (entry.keys.length === 0 && defaults.needsKey)
    where(`keys is missing: provider ${entry.provider} asks for a key (only ollama and vllm do without)`);
  if (entry.keys.length > MOST_KEYS)
    where(`it has ${entry.keys.length} keys, of ${MOST_KEYS} at most: make several groups of one account`);
  const account = entry.account ?? rememberedAccount(entry, keys, model, draft, around.memory) ?? entry.id;
  if (account !== (entry.account ?? entry.id))
    done.notices.push(
      `key group ${entry.id} goes on with the quota of account ${account}, under which its key was known`,
    );
  done.groups.push({
    id: entry.id,
    provider: entry.provider,
    baseUrl: baseUrl ?? "",
    model: model ?? "",
    account,
    ...windowsOf(entry.windows, entry.provider),
    keys,
    strategy: entry.strategy,
    weight: entry.weight,
    price: entry.price,
    region: entry.region,
    quality: entry.quality,
    capabilities: { ...defaults.capabilities, ...entry.capabilities },
    refusedCallsCount: entry.refusedCallsCount ?? defaults.refusedCallsCount,
    simulated,
  });
  for (const { id: keyId, secret } of keys) {
    if (secret === NO_SECRET || secret === "" || baseUrl === undefined) continue;
    done.bindings.push({ group: entry.id, keyId, secret, baseUrl: given ?? null, model: model ?? "", account });
  }
}

/** Of a server that asks for none. */
const KEYLESS: ApiKey = { id: "no-key", secret: NO_SECRET, weight: 1 };

/** Those of disabled keys are not looked for: a key may be disabled because its secret is gone. */
function secretsOf(keys: readonly DraftKey[], yaml: YamlText, around: Surroundings, done: Completion): ApiKey[] {
  return keys
    .filter((key) => key.enabled)
    .map((key) => {
      const kind = around.asWritten ? referenceOf(key.secret).kind : "literal";
      const elsewhere = kind === "environment" || kind === "file";
      const found: Resolved = elsewhere ? { secret: "" } : resolveSecret(key.secret, around.env);
      if (found.file !== undefined) done.secretFiles.push(found.file);
      if ("fault" in found) done.faults.push(yaml.fault(key.secretPlace, `key ${key.id}: ${found.fault}`));
      return { id: key.id, secret: "secret" in found ? found.secret : "", weight: key.weight };
    });
}

/** The name under which the quota of a renamed group's key has been counted; not when another group goes by it. */
function rememberedAccount(
  entry: DraftGroup,
  keys: readonly ApiKey[],
  model: string | undefined,
  draft: Draft,
  memory: KeyMemory | undefined,
): string | undefined {
  const [key] = keys;
  if (!memory || !key?.secret || key.secret === NO_SECRET || model === undefined) return undefined;
  const account = memory.accountOf(key.secret, model);
  const others = draft.groups.filter((group) => group !== entry);
  return others.some((group) => group.id === account || group.account === account) ? undefined : account;
}

/** A secret that was entered for one place is sent to no other before somebody who knows it has said so. */
function foreignPlaces(bindings: readonly KeyBinding[], draft: Draft, yaml: YamlText, memory?: KeyMemory): string[] {
  if (!memory) return [];
  return bindings.flatMap(({ group, keyId, secret, baseUrl }) => {
    if (baseUrl === null) return [];
    const places = memory.placesOf(secret);
    const place = placeOf(baseUrl);
    if (places.size === 0 || places.has(place)) return [];
    const entry = draft.groups.find(({ id }) => id === group);
    const at = entry?.baseUrl === undefined ? entry?.place : [...entry.place, "baseUrl"];
    return [
      yaml.fault(
        draft.form === "flat" ? ["baseUrl"] : (at ?? []),
        `key group ${group}: the secret of key ${keyId} was entered for ${[...places].join(" and ")} and is not sent to ${place} unasked: ` +
          `enter it again (vigilane keys confirm ${group}), give the group a new secret, or take the old address`,
      ),
    ];
  });
}

function twiceIn({ groups, halfRead }: Draft, yaml: YamlText): string[] {
  const twice = <T extends { id: string | undefined }>(ones: readonly T[]) =>
    ones.filter(({ id }, i) => id !== undefined && ones.findIndex((other) => other.id === id) !== i);
  // In the order of the file: the later of two is the one at fault.
  const all = [...groups, ...halfRead].toSorted((a, b) => Number(a.place.at(-1)) - Number(b.place.at(-1)));
  return [
    ...twice(all).map(({ id, place }) =>
      yaml.fault([...place, "id"], `two key groups have the id ${id}: give each its own`),
    ),
    ...all.flatMap((group) =>
      twice(group.keys).map(({ id, place }) =>
        yaml.fault([...place, "id"], `two keys of ${group.id ?? "this group"} have the id ${id}: give each its own`),
      ),
    ),
  ];
}

/** The same key of one model under two accounts would be counted as two quotas. */
function sharedSecrets(bindings: readonly KeyBinding[]): string[] {
  const seen = new Map<string, KeyBinding>();
  return bindings.flatMap((one) => {
    const name = JSON.stringify([one.secret, one.model]);
    const other = seen.get(name);
    seen.set(name, other ?? one);
    if (!other || other.account === one.account) return [];
    return [
      `key groups ${other.group} and ${one.group} have one and the same secret: it has one quota, which is counted twice (give both the same account)`,
    ];
  });
}
