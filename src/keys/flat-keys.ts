/**
 * The older flat forms of the keys' file, read as they are. Three are known:
 *
 *   api_keys: [{ key, key_id, qps_limit 10, rpm_limit 300, enabled, priority }], scheduler, monitoring
 *   keys: [{ api_key, name, qps_limit 5, rpm_limit 100 }], strategy, max_retry_per_key, default_cooldown
 *   keys: [{ id, api_key, priority, qps_limit 10, rpm_limit 600 }], selection_strategy, cooling
 *
 * and at the top of each baseUrl (base_url), model, provider. One key group per key; keys that say the same `account` are
 * one group. The older strategy chooses among the groups.
 */
import { z } from "zod";
import { OLDER_POLICY_FIELDS, readOlderPolicy } from "../queues/call-policy.ts";
import { type Strategy, USUAL_QUALITY } from "../queues/key-groups.ts";
import { PROVIDER_NAMES } from "../queues/provider-presets.ts";
import { mostOf, type ShorthandName, Windows } from "../queues/window.ts";
import type { YamlText } from "../yaml-file.ts";
import type { Draft, DraftGroup, DraftKey, KeyPolicy, Place } from "./draft.ts";
import { ACCOUNT, BaseUrl, KEY_ID, Weight } from "./keys-file.ts";

interface Form {
  list: "api_keys" | "keys";
  /** Fields of a key, by which `keys add` writes in the file's own form too. */
  id: "key_id" | "name" | "id";
  secret: "key" | "api_key";
  /** Where a key says nothing. */
  qps: number;
  rpm: number;
}
const FORMS: readonly [Form, Form, Form] = [
  { list: "api_keys", id: "key_id", secret: "key", qps: 10, rpm: 300 },
  { list: "keys", id: "name", secret: "api_key", qps: 5, rpm: 100 },
  { list: "keys", id: "id", secret: "api_key", qps: 10, rpm: 600 },
];

/** Which of the flat forms this is; undefined: none. */
export function flatForm(raw: unknown): Form | undefined {
  const file = Object(raw) as Record<string, unknown>;
  if (Array.isArray(file.api_keys)) return FORMS[0];
  if (!Array.isArray(file.keys)) return undefined;
  const named = file.keys.some((key) => "name" in Object(key)) || "strategy" in file;
  return named ? FORMS[1] : FORMS[2];
}

/** Older systems ran with DashScope's Qwen-VL and named neither. */
const OLDER = { provider: "dashscope", model: "qwen-vl-plus" } as const;

const STRATEGY_NAMES: Record<string, Strategy> = {
  round_robin: "round_robin",
  "round-robin": "round_robin",
  roundrobin: "round_robin",
  least_loaded: "least_loaded",
  "least-loaded": "least_loaded",
  least_used: "least_loaded",
  least_connections: "least_loaded",
  weighted: "weighted",
  weighted_round_robin: "weighted",
  priority: "weighted",
  random: "random",
};
const StrategyName = z
  .string()
  .transform((text) => STRATEGY_NAMES[text.toLowerCase()])
  .pipe(
    z.enum(
      ["round_robin", "least_loaded", "weighted", "random"],
      "must be one of round_robin, least_loaded, weighted, random",
    ),
  );

const Id = z.union([z.string().min(1), z.number()]).transform(String);
/** As much as the window that it becomes may hold. */
const limitOf = (name: ShorthandName) =>
  z
    .number("must be a number")
    .positive("must be greater than 0")
    .max(mostOf(name), `must be at most ${mostOf(name)}`)
    .optional();
const FlatKey = z.looseObject({
  key: z.string().min(1).optional(),
  api_key: z.string().min(1).optional(),
  key_id: Id.optional(),
  id: Id.optional(),
  name: Id.optional(),
  qps_limit: limitOf("requestsPerSecond"),
  rpm_limit: limitOf("requestsPerMinute"),
  enabled: z.boolean().default(true),
  priority: z.number().min(0).max(1_000_000).optional(),
  weight: Weight.optional(),
  account: z.string().regex(ACCOUNT, "must be 1 to 80 of letters, digits, dot, dash and underline").optional(),
});
type FlatKey = z.infer<typeof FlatKey>;

const FlatFile = z.looseObject({
  baseUrl: BaseUrl.optional(),
  base_url: BaseUrl.optional(),
  model: z.string().min(1).optional(),
  provider: z.enum(PROVIDER_NAMES).optional(),
  strategy: StrategyName.optional(),
  selection_strategy: StrategyName.optional(),
  ...OLDER_POLICY_FIELDS,
  scheduler: z
    .looseObject({
      ...OLDER_POLICY_FIELDS,
      max_concurrent_tasks: z.number().int().min(1).max(100_000).optional(),
      strategy: StrategyName.optional(),
      selection_strategy: StrategyName.optional(),
    })
    .optional(),
});
type FlatFile = z.infer<typeof FlatFile>;

export function readFlatKeys(yaml: YamlText, form: Form): Draft {
  const faults: string[] = [];
  const notices: string[] = [];
  const read = FlatFile.safeParse(yaml.raw);
  if (!read.success) faults.push(...yaml.faultsOf(read.error));
  const file: FlatFile = read.success ? read.data : {};
  const rows = (yaml.raw as Record<string, unknown[]>)[form.list] ?? [];
  if (rows.length === 0) faults.push(yaml.fault([form.list], "needs at least one key"));
  const keys = rows.flatMap((raw, i): Row[] => {
    const place: Place = [form.list, i];
    const key = FlatKey.safeParse(raw);
    if (!key.success) faults.push(...yaml.faultsOf(key.error, place));
    const row = key.success ? toRow(key.data, i, form, place) : undefined;
    if (key.success && !row)
      faults.push(yaml.fault(place, `${form.secret} is missing: the key itself, or a reference`));
    return row ? [row] : [];
  });
  notices.push(...ranksToWeights(keys));
  const ignored = ignoredFields(yaml.raw, rows, form);
  if (ignored.length > 0)
    notices.push(`fields of the older system that mean nothing here are passed over: ${ignored.join(", ")}`);
  if (file.provider === undefined && (file.baseUrl ?? file.base_url) === undefined) {
    notices.push(`the file names neither provider nor baseUrl: ${OLDER.provider} is taken, as the older system had it`);
  }
  if (file.scheduler?.max_concurrent_tasks !== undefined)
    notices.push("max_concurrent_tasks is passed over: as many calls are in flight as the windows allow");
  const { policy, ...said } = policyOf(file, yaml);
  faults.push(...said.faults);
  notices.push(...said.notices);
  return {
    form: "flat",
    groups: toGroups(keys, file, notices),
    halfRead: [],
    routing: {
      strategy:
        file.strategy ??
        file.selection_strategy ??
        file.scheduler?.strategy ??
        file.scheduler?.selection_strategy ??
        "round_robin",
    },
    policy,
    notices,
    faults,
  };
}

interface Row {
  key: DraftKey;
  account: string | undefined;
  windows: Windows;
  priority: number | undefined;
}

function toRow(flat: FlatKey, i: number, form: Form, place: Place): Row | undefined {
  const secretField = flat[form.secret] !== undefined ? form.secret : flat.key !== undefined ? "key" : "api_key";
  const secret = flat[secretField];
  if (secret === undefined) return undefined;
  const named = flat[form.id] ?? flat.key_id ?? flat.id ?? flat.name ?? "";
  const id = KEY_ID.test(named) ? named : slug(named) || `key-${String(i + 1).padStart(3, "0")}`;
  return {
    key: { id, secret, weight: flat.weight ?? 1, enabled: flat.enabled, place, secretPlace: [...place, secretField] },
    account: flat.account,
    windows: windowsOfLimits(flat.qps_limit ?? form.qps, flat.rpm_limit ?? form.rpm),
    priority: flat.weight === undefined ? flat.priority : undefined,
  };
}

/** Less than one call a second is a limit of the minute. */
function windowsOfLimits(qps: number, rpm: number): Windows {
  if (qps >= 1)
    return Windows.parse({ requestsPerSecond: Math.floor(qps), requestsPerMinute: Math.max(1, Math.floor(rpm)) });
  return Windows.parse({ requestsPerMinute: Math.max(1, Math.floor(Math.min(rpm, qps * 60))) });
}

/**
 * The older comment on `priority` calls 1 the most important, and the older code never looked. Here it is that rank: the
 * key of the lowest number gets the highest weight.
 */
function ranksToWeights(rows: readonly Row[]): string[] {
  const ranked = rows.filter((row) => row.priority !== undefined);
  const ranks = [...new Set(ranked.map((row) => row.priority ?? 0))].toSorted((a, b) => a - b);
  if (ranks.length < 2) return [];
  for (const row of ranked) row.key.weight = Math.min(1_000, ranks.length - ranks.indexOf(row.priority ?? 0));
  const shown = ranks.slice(0, 5).map((rank, i) => `${rank} → ${ranks.length - i}`);
  return [
    `priority is read as a rank, 1 before 2, and becomes a weight, of which a higher one gets more where the strategy is weighted: ${shown.join(", ")}${ranks.length > 5 ? ", …" : ""}; write weight to say it otherwise`,
  ];
}

function toGroups(rows: readonly Row[], file: FlatFile, notices: string[]): DraftGroup[] {
  const groups = new Map<string, DraftGroup>();
  const ids = new Set<string>();
  for (const [i, { key, account, windows }] of rows.entries()) {
    const name = account === undefined ? `key ${i}` : `account ${account}`;
    const known = groups.get(name);
    if (known) {
      const narrower = narrowest(known.windows, windows);
      if (
        JSON.stringify(narrower) !== JSON.stringify(known.windows) ||
        JSON.stringify(narrower) !== JSON.stringify(windows)
      )
        notices.push(`keys of account ${account} name different limits: the lowest hold, since they share one quota`);
      known.windows = narrower;
      known.weight = Math.max(known.weight, key.weight);
      known.keys.push(key);
      continue;
    }
    const baseUrl = file.baseUrl ?? file.base_url;
    groups.set(name, {
      id: freeId(slug(account ?? key.id) || `key-${i + 1}`, ids),
      provider: file.provider ?? (baseUrl === undefined ? OLDER.provider : "custom"),
      baseUrl,
      model: file.model ?? OLDER.model,
      account,
      windows,
      keys: [key],
      strategy: "round_robin",
      weight: key.weight,
      price: null,
      region: null,
      quality: USUAL_QUALITY,
      capabilities: {},
      refusedCallsCount: undefined,
      place: key.place,
    });
  }
  return [...groups.values()];
}

function narrowest(a: Windows, b: Windows): Windows {
  const least = (x: number | undefined, y: number | undefined) =>
    x === undefined || y === undefined ? (x ?? y) : Math.min(x, y);
  const perSecond = least(a.requestsPerSecond, b.requestsPerSecond);
  const perMinute = least(a.requestsPerMinute, b.requestsPerMinute);
  return Windows.parse({ requestsPerSecond: perSecond, requestsPerMinute: perMinute });
}

/** Text as part of a group's id: a-z, 0-9 and dash. */
export const slug = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 36);

function freeId(wanted: string, taken: Set<string>): string {
  let id = wanted;
  for (let n = 2; taken.has(id); n += 1) id = `${wanted}-${n}`;
  taken.add(id);
  return id;
}

/** What stands at the file's top comes before what stands under `scheduler`. */
function policyOf(file: FlatFile, yaml: YamlText): { policy: KeyPolicy; faults: string[]; notices: string[] } {
  const said = { ...file.scheduler, ...file };
  const { policy, faults, notices } = readOlderPolicy(said);
  const placeOf = (place: Place) => (Object.hasOwn(file, place[0] ?? "") ? place : ["scheduler", ...place]);
  return {
    policy: {
      cooling: policy.cooling,
      maxRetries: said.max_retry_per_key === undefined ? null : policy.retry.maxRetries,
    },
    faults: faults.map(({ place, what }) => yaml.fault(placeOf(place), what)),
    notices,
  };
}

/** Known by name alone, so that nothing of a value or of a mistyped secret is ever said. */
function ignoredFields(raw: unknown, rows: readonly unknown[], form: Form): string[] {
  const top = Object.keys(Object(raw)).filter((name) => name !== form.list && !(name in FlatFile.shape));
  const ofKeys = rows.flatMap((row) => Object.keys(Object(row)).filter((name) => !(name in FlatKey.shape)));
  const names = [...new Set([...top, ...ofKeys])].filter((name) => /^[a-z][a-z_]{0,30}$/i.test(name));
  return names.sort();
}
