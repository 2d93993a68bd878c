/** The keys' file in its own form: `keyGroups`, and `routing`. config/keys.example.yaml explains every field. */
import { z } from "zod";
import { KEY_GROUP_ID } from "../names.ts";
import { DEFAULT_ROUTING, STRATEGIES, USUAL_QUALITY } from "../queues/key-groups.ts";
import { PROVIDER_NAMES } from "../queues/provider-presets.ts";
import { Windows } from "../queues/window.ts";
import { RoutingPolicy } from "../routing-policy.ts";
import type { YamlText } from "../yaml-file.ts";
import { type Draft, type DraftGroup, type HalfRead, type Place, USUAL_POLICY } from "./draft.ts";

export const KEY_ID = /^[A-Za-z0-9._-]{1,60}$/;
export const ACCOUNT = /^[A-Za-z0-9._-]{1,80}$/;

export const Weight = z.number().positive().max(1_000);
const Cost = z.number().min(0).max(1_000_000);

/** Any OpenAI-compatible server, up to and including its version. */
export const BaseUrl = z
  .url({ protocol: /^https?$/, error: "must be an address such as https://provider.example/v1" })
  .refine((text) => !URL.canParse(text) || hasNothingElse(new URL(text)), {
    error: "must hold neither user, password, query nor fragment: the secret has a field of its own",
  });
const hasNothingElse = (url: URL) => !url.username && !url.password && !url.search && !url.hash;

export const Key = z.strictObject({
  id: z.string().regex(KEY_ID, "must be 1 to 60 of letters, digits, dot, dash and underline"),
  /** The key itself, `${NAME}` to take it from the environment, or `file:/path` to take it from a file. */
  secret: z.string("must be a text: put it in quotes").min(1, "must not be empty"),
  weight: Weight.default(1),
  enabled: z.boolean().default(true),
});

export const KeyGroupEntry = z.strictObject({
  id: z.string().regex(KEY_GROUP_ID, "must be 1 to 40 of a-z, 0-9 and dash"),
  provider: z.enum(PROVIDER_NAMES).default("custom"),
  /** Default: the provider's own, where it has one. */
  baseUrl: BaseUrl.optional(),
  /** Provider "simulated": default simulated-vision. */
  model: z.string().min(1).optional(),
  /** Groups of one account share their windows. Default: the group's id, or under what name its key was used before. */
  account: z.string().regex(ACCOUNT, "must be 1 to 80 of letters, digits, dot, dash and underline").optional(),
  weight: Weight.default(1),
  price: z
    .strictObject({
      perMillionInputTokens: Cost.optional(),
      perMillionOutputTokens: Cost.optional(),
      perCall: Cost.optional(),
    })
    .optional(),
  region: z.string().min(1).max(80).optional(),
  /** Of its model, 1 to 5: your own judgement, for policies that ask for one. */
  quality: z.number().int().min(1).max(5).default(USUAL_QUALITY),
  capabilities: z.strictObject({ jsonObject: z.boolean().optional(), jsonSchema: z.boolean().optional() }).default({}),
  /** Calls that the provider refuses take a place in its windows too. Default: what is known of the provider. */
  refusedCallsCount: z.boolean().optional(),
  windows: Windows,
  strategy: z.enum(STRATEGIES).default("round_robin"),
  keys: z.array(Key).min(1, "needs at least one key").optional(),
});

const KeysFile = z.strictObject({
  keyGroups: z.array(z.unknown()).min(1, "needs at least one key group"),
  routing: z
    .strictObject({
      strategy: z.enum(STRATEGIES).default("round_robin"),
      /** Of every task; a camera's own goes before it, field by field. */
      policy: RoutingPolicy.optional(),
      /** Most of each window that is kept free for urgent tasks. */
      reserve: z.number().min(0).max(0.5).optional(),
    })
    .default(DEFAULT_ROUTING),
});

/** Each group is looked at by itself, and one with a fault for what can be read of it, so that one fault hides no other. */
export function readKeyGroups(yaml: YamlText): Draft {
  const draft: Draft = {
    form: "keyGroups",
    groups: [],
    halfRead: [],
    routing: DEFAULT_ROUTING,
    policy: USUAL_POLICY,
    notices: [],
    faults: [],
  };
  const file = KeysFile.safeParse(yaml.raw);
  if (!file.success) draft.faults.push(...yaml.faultsOf(file.error));
  else {
    const { strategy, policy, reserve } = file.data.routing;
    draft.routing = { strategy, ...(policy && { policy }), ...(reserve !== undefined && { reserve }) };
  }
  const entries = (yaml.raw as { keyGroups?: unknown }).keyGroups;
  for (const [i, raw] of (Array.isArray(entries) ? entries : []).entries()) {
    const place: Place = ["keyGroups", i];
    const entry = KeyGroupEntry.safeParse(raw);
    if (entry.success) draft.groups.push(toDraft(entry.data, place));
    else {
      draft.faults.push(...yaml.faultsOf(entry.error, place));
      draft.halfRead.push(toHalfRead(raw, place));
    }
  }
  return draft;
}

/** Only what looks like an id is taken for one: what stands in its place may be a secret. */
const Named = z.looseObject({
  id: z.string().regex(KEY_GROUP_ID).optional().catch(undefined),
  keys: z.array(z.unknown()).catch([]),
});
const NamedKey = z.looseObject({
  id: z.string().regex(KEY_ID).optional().catch(undefined),
  secret: z.string().min(1),
  enabled: z.boolean().catch(true),
});

function toHalfRead(raw: unknown, place: Place): HalfRead {
  const { id, keys } = Named.catch({ id: undefined, keys: [] }).parse(raw);
  return {
    id,
    keys: keys.flatMap((one, j) => {
      const key = NamedKey.safeParse(one);
      if (!key.success) return [];
      const keyPlace = [...place, "keys", j];
      const { id: keyId = `no. ${j + 1}`, secret, enabled } = key.data;
      return [{ id: keyId, secret, enabled, weight: 1, place: keyPlace, secretPlace: [...keyPlace, "secret"] }];
    }),
    place,
  };
}

function toDraft({ keys = [], ...entry }: z.infer<typeof KeyGroupEntry>, place: Place): DraftGroup {
  return {
    ...entry,
    baseUrl: entry.baseUrl,
    model: entry.model,
    account: entry.account,
    price: entry.price ?? null,
    region: entry.region ?? null,
    refusedCallsCount: entry.refusedCallsCount,
    capabilities: {
      ...(entry.capabilities.jsonObject !== undefined && { jsonObject: entry.capabilities.jsonObject }),
      ...(entry.capabilities.jsonSchema !== undefined && { jsonSchema: entry.capabilities.jsonSchema }),
    },
    keys: keys.map((key, j) => {
      const keyPlace = [...place, "keys", j];
      return { ...key, place: keyPlace, secretPlace: [...keyPlace, "secret"] };
    }),
    place,
  };
}
