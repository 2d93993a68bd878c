/** Key groups as the older system's documents tell of its pool of keys: every field in their names and units. */
import type { KeyEvent, KeyGroupEvent, KeyState } from "../events.ts";

export interface PoolHealth {
  total_keys: number;
  available_keys: number;
  in_use_keys: number;
  cooling_keys: number;
  /** Left out, or held by no living worker. */
  disabled_keys: number;
  /** Calls a second for long: each account's narrowest window of calls, whatever several groups share besides. */
  total_capacity_qps: number;
  /** Of the groups that may be called now. */
  available_capacity_qps: number;
  /** Calls that have ended. */
  total_calls: number;
  total_success: number;
  /** 0 to 1; 0 before the first call. */
  overall_success_rate: number;
  strategy: string;
}

/** The older word for a key's state, and the number that its metric has for it. */
export const OLDER_STATES = {
  available: { word: "available", number: 1 },
  in_use: { word: "in_use", number: 2 },
  cooling: { word: "cooling", number: 3 },
  disabled: { word: "disabled", number: 4 },
  unmanned: { word: "disabled", number: 4 },
  removed: { word: "disabled", number: 4 },
} as const satisfies Record<KeyState, { word: string; number: number }>;

export function keyGroupsToPool(groups: readonly KeyGroupEvent[]): PoolHealth {
  const keys = groups.flatMap((group) => group.keys);
  const having = (word: string) => keys.filter((key: KeyEvent) => OLDER_STATES[key.state].word === word).length;
  const totalCalls = groups.reduce((sum, group) => sum + endedCalls(group), 0);
  const totalSuccess = groups.reduce((sum, group) => sum + group.ok, 0);
  return {
    total_keys: keys.length,
    available_keys: having("available"),
    in_use_keys: having("in_use"),
    cooling_keys: having("cooling"),
    disabled_keys: having("disabled"),
    total_capacity_qps: capacity(groups),
    available_capacity_qps: capacity(groups.filter(({ state }) => state === "available" || state === "in_use")),
    total_calls: totalCalls,
    total_success: totalSuccess,
    overall_success_rate: totalCalls > 0 ? totalSuccess / totalCalls : 0,
    strategy: strategyOf(groups),
  };
}

/** The older pool chose among keys: here that is among key groups, but where all keys are one group's. */
const strategyOf = ([one, ...others]: readonly KeyGroupEvent[]) =>
  (others.length === 0 ? one?.strategy : one?.routing) ?? "round_robin";

/** Those that are under way have been counted as begun. */
const endedCalls = ({ calls, inFlight, ok }: KeyGroupEvent) => Math.max(ok, calls - inFlight);

/** Groups of one account share its windows: the account counts once, as what the widest of them may do. */
function capacity(groups: readonly KeyGroupEvent[]): number {
  const accounts = new Map<string, number>();
  for (const group of groups) {
    const account = group.account || group.id;
    const rates = group.windows.filter(countsOwnCalls).map(({ limit, windowMs }) => (limit * 1000) / windowMs);
    if (rates.length > 0) accounts.set(account, Math.max(accounts.get(account) ?? 0, Math.min(...rates)));
  }
  return [...accounts.values()].reduce((sum, rate) => sum + rate, 0);
}

/** A window that says no unit counts calls; one whose name begins with @ is shared by all groups. */
function countsOwnCalls(window: KeyGroupEvent["windows"][number] & { unit?: string | undefined }): boolean {
  return !window.name.startsWith("@") && (window.unit ?? "requests") === "requests";
}
