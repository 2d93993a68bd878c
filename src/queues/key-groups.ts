/**
 * The contract of key groups: each one quota domain, with its windows and keys. src/keys reads them from the keys' file.
 * Secrets stay in this process: what goes into the store (`registration`) has none.
 */
import { z } from "zod";
import type { Settings } from "../settings.ts";

/** Limits of one account and model, all sliding windows. At least one of the request windows is needed. */
const WindowLimits = z.strictObject({
  requestsPerSecond: z.number().int().min(1).max(10_000).optional(),
  requestsPerMinute: z.number().int().min(1).max(600_000).optional(),
  requestsPerDay: z.number().int().min(1).max(1_000_000).optional(),
  /** Calls in flight at once. */
  maxConcurrent: z.number().int().min(1).max(10_000).optional(),
});
export const Windows = WindowLimits.refine(
  (w) => w.requestsPerSecond || w.requestsPerMinute || w.requestsPerDay,
  "needs at least one of requestsPerSecond, requestsPerMinute, requestsPerDay",
);
export type Windows = z.infer<typeof Windows>;

const WINDOW_MS = { requestsPerSecond: 1_000, requestsPerMinute: 60_000, requestsPerDay: 86_400_000 } as const;
type WindowName = keyof typeof WINDOW_MS;

/** What the file says of windows, as they are kept. */
export function windowsOf({ maxConcurrent = 0, ...limits }: Windows): Pick<KeyGroup, "windows" | "maxConcurrent"> {
  const windows = (Object.keys(WINDOW_MS) as WindowName[]).flatMap((name) => {
    const limit = limits[name];
    return limit ? [{ name, limit, windowMs: WINDOW_MS[name] }] : [];
  });
  return { windows, maxConcurrent };
}

/** Shared by all real groups: so many calls a day, whatever the file allows. */
export const dayCap = (calls: number): QuotaWindow => ({
  name: "@callsPerDay",
  limit: calls,
  windowMs: WINDOW_MS.requestsPerDay,
});

export interface QuotaWindow {
  name: string;
  limit: number;
  windowMs: number;
}

/**
 * How one of several is chosen, keys of a group or groups among each other:
 *   round_robin    the one that was chosen longest ago
 *   least_loaded   the one with the fewest calls in flight
 *   weighted       in proportion to the weights: a higher one gets more
 *   random         any, by chance
 */
export const STRATEGIES = ["round_robin", "least_loaded", "weighted", "random"] as const;
export type Strategy = (typeof STRATEGIES)[number];

export interface ApiKey {
  id: string;
  secret: string;
  /** A higher one gets more, where the group's strategy is weighted. */
  weight: number;
}

/** What a call costs, in the account's currency. */
export interface Price {
  perMillionInputTokens?: number | undefined;
  perMillionOutputTokens?: number | undefined;
  perCall?: number | undefined;
}

/** What the server knows beyond the plain request. */
export interface Capabilities {
  /** response_format json_object. */
  jsonObject: boolean;
  /** response_format json_schema. */
  jsonSchema: boolean;
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
  /** Those that are enabled; none: the group is disabled. */
  keys: ApiKey[];
  /** How a key of the group is chosen. */
  strategy: Strategy;
  /** Among the groups, where the file's routing is weighted. */
  weight: number;
  price: Price | null;
  region: string | null;
  capabilities: Capabilities;
  /** True: its verdicts are simulated. */
  simulated: boolean;
}

/** Calls a day over all real keys while the setting callsPerDay says nothing. */
export const DEFAULT_CALLS_PER_DAY = 200;

export const SIMULATED_MODEL = "simulated-vision";
export const simulatorBaseUrl = ({ simulatorUrl }: Pick<Settings, "simulatorUrl">) =>
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
      keys: [{ id: `key-${n}`, secret: `sim-key-${n}`, weight: 1 }],
      strategy: "round_robin",
      weight: 1,
      price: null,
      region: null,
      capabilities: { jsonObject: false, jsonSchema: false },
      simulated: true,
    };
  });
}

/** Calls a second that all groups together may make for long: each account's narrowest window counted once. */
export function sustainedCallsPerSecond(groups: readonly KeyGroup[]): number {
  const accounts = new Map<string, number>();
  let shared = Number.POSITIVE_INFINITY;
  for (const group of groups) {
    if (group.keys.length === 0) continue;
    const own = group.windows.filter((w) => !w.name.startsWith("@"));
    const rate = Math.min(...own.map((w) => (w.limit * 1000) / w.windowMs));
    accounts.set(group.account, Math.max(accounts.get(group.account) ?? 0, rate));
    for (const w of group.windows) if (w.name.startsWith("@")) shared = Math.min(shared, (w.limit * 1000) / w.windowMs);
  }
  const sum = [...accounts.values()].reduce((a, b) => a + b, 0);
  return Math.min(sum, shared);
}

/** What the store keeps of a group: no secret. */
export function registration(group: KeyGroup) {
  return {
    id: group.id,
    account: group.account,
    windows: group.windows.map((w) => `${w.name}:${w.limit}:${w.windowMs}`).join(";"),
    maxConcurrent: String(group.maxConcurrent),
    keys: group.keys.map((key) => key.id).join(","),
    json: JSON.stringify({
      provider: group.provider,
      model: group.model,
      simulated: group.simulated,
      windows: group.windows,
    }),
  };
}
