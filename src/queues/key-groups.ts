/**
 * The contract of key groups: each one quota domain, with its windows and keys. src/keys reads them from the keys' file.
 * Secrets stay in this process: what goes into the store (`registration`) has none.
 */
import type { RoutingPolicy } from "../routing-policy.ts";
import type { Settings } from "../settings.ts";
import { ANSWER_TOKENS, imageRuleOf, PROMPT_TOKENS, USUAL_ANSWER_TOKENS, USUAL_TOKENS } from "./token-estimate.ts";
import { DAY_MS, type QuotaWindow, sustainedRate, windowsText } from "./window.ts";

/** Shared by all real groups: so many calls a day, whatever the file allows. */
export const dayCap = (calls: number): QuotaWindow => ({
  name: "@callsPerDay",
  limit: calls,
  windowMs: DAY_MS,
});

/**
 * How one of several is chosen, keys of a group or groups among each other (turns.lua):
 *   round_robin    each in its turn: calls are never more than one apart
 *   least_loaded   the one with the fewest calls in flight, of equals the one with the fewest calls
 *   weighted       in proportion to the weights: a higher one gets more
 *   random         any, by chance
 */
export const STRATEGIES = ["round_robin", "least_loaded", "weighted", "random"] as const;
export type Strategy = (typeof STRATEGIES)[number];

/** How a group is chosen for a task. */
export interface Routing {
  strategy: Strategy;
  /** Of every task; a camera's own goes before it. Absent: any group. */
  policy?: RoutingPolicy;
  /** Most of each window that is kept free for urgent tasks, 0 to 0.5 (reserve.lua). Absent: DEFAULT_RESERVE; 0: none. */
  reserve?: number;
}
export const DEFAULT_RESERVE = 0.1;
export const DEFAULT_ROUTING: Routing = { strategy: "round_robin" };

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

/** Quality of a model of which nothing is said. */
export const USUAL_QUALITY = 3;

/** What a usual call costs, in the price's currency; null: not known. */
export function pricePerCall(price: Price | null): number | null {
  if (!price) return null;
  const { perCall = 0, perMillionInputTokens = 0, perMillionOutputTokens = 0 } = price;
  const input = USUAL_TOKENS - USUAL_ANSWER_TOKENS;
  return perCall + (input * perMillionInputTokens + USUAL_ANSWER_TOKENS * perMillionOutputTokens) / 1e6;
}

/** What the server knows beyond the plain request. */
export interface Capabilities {
  /** response_format json_object. */
  jsonObject: boolean;
  /** response_format json_schema. */
  jsonSchema: boolean;
}

/** Of one group: a take asks for the state of all of its keys at once (choose.lua), and Lua ends at about twice as many. */
export const MOST_KEYS = 500;

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
  /** Of its model, 1 to 5, as its people judge it. */
  quality: number;
  capabilities: Capabilities;
  /** Calls that its provider refuses take a place in the windows all the same. */
  refusedCallsCount: boolean;
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
      quality: USUAL_QUALITY,
      capabilities: { jsonObject: false, jsonSchema: false },
      refusedCallsCount: false,
      simulated: true,
    };
  });
}

/** Calls a second that all groups together may make for long: each account's narrowest window counted once. */
export const sustainedCallsPerSecond = (groups: readonly KeyGroup[]): number =>
  sustainedRate(
    groups.filter(({ keys }) => keys.length > 0),
    USUAL_TOKENS,
  );

/** What the store keeps of a group: no secret. */
export function registration(group: KeyGroup, routing: Routing = DEFAULT_ROUTING) {
  return {
    id: group.id,
    account: group.account,
    windows: windowsText(group.windows),
    maxConcurrent: String(group.maxConcurrent),
    keys: group.keys.map((key) => key.id).join(","),
    weight: String(group.weight),
    strategy: group.strategy,
    provider: group.provider,
    region: group.region ?? "",
    quality: group.quality,
    price: String(pricePerCall(group.price) ?? ""),
    keyWeights: Object.fromEntries(group.keys.map((key) => [key.id, String(key.weight)])),
    promptTokens: String(PROMPT_TOKENS + ANSWER_TOKENS),
    imageRule: String(imageRuleOf(group.provider, group.model)),
    json: JSON.stringify({
      provider: group.provider,
      model: group.model,
      simulated: group.simulated,
      windows: group.windows,
      strategy: group.strategy,
      routing: routing.strategy,
      weight: group.weight,
      region: group.region,
      quality: group.quality,
      pricePerCall: pricePerCall(group.price),
    }),
  };
}
