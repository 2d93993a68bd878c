/** How key groups look and stand: what is in trouble comes first, everything has a word beside its colour. Pure. */
import { Ban, CircleDot, Hourglass, LogOut, type LucideIcon, Snowflake, UserX } from "lucide-react";
import type { KeyGroupEvent, KeyState } from "../../../src/events.ts";
import { causeInWords, duration } from "../look/format.ts";

interface StateLook {
  Icon: LucideIcon;
  word: string;
  /** For the tooltip. */
  meaning: string;
}

export const STATES: Record<KeyState, StateLook> = {
  available: { Icon: CircleDot, word: "Available", meaning: "nothing is wrong, no call is under way" },
  in_use: { Icon: Hourglass, word: "In use", meaning: "calls are under way" },
  cooling: {
    Icon: Snowflake,
    word: "Cooling",
    meaning: "it rests after a refusal or failure and comes back by itself",
  },
  disabled: { Icon: Ban, word: "Disabled", meaning: "key or account is refused; it is tried again now and then" },
  unmanned: { Icon: UserX, word: "No worker", meaning: "no living worker holds a key of it" },
  removed: { Icon: LogOut, word: "Removed", meaning: "it left the keys' file; its queue is not empty yet" },
};

/** Lower is worse. Whether a call happens to be under way moves no row. */
const RANK: Record<KeyState, number> = { disabled: 0, unmanned: 1, cooling: 2, in_use: 4, available: 4, removed: 5 };

const rankOf = ({ state, keys }: KeyGroupEvent) =>
  RANK[state] === 4 && keys.some((key) => key.state === "disabled") ? 3 : RANK[state];

/** Trouble first, then by id ("sim-2" before "sim-10"). */
export const troubleFirst = (groups: readonly KeyGroupEvent[]) =>
  groups.toSorted((a, b) => rankOf(a) - rankOf(b) || a.id.localeCompare(b.id, "en", { numeric: true }));

/** "10 groups: 1 disabled, 2 cooling", "10 groups, all ready" */
export function standing(groups: readonly KeyGroupEvent[]): string {
  const all = `${groups.length} ${groups.length === 1 ? "group" : "groups"}`;
  const troubles = (["disabled", "unmanned", "cooling"] as const).flatMap((state) => {
    const n = groups.filter((group) => group.state === state).length;
    return n === 0 ? [] : [`${n} ${STATES[state].word.toLowerCase()}`];
  });
  return troubles.length === 0 ? `${all}, all ready` : `${all}: ${troubles.join(", ")}`;
}

export type WindowEvent = KeyGroupEvent["windows"][number] & { kind?: string | undefined; unit?: string | undefined };

/** "1 s", "1 min", "1 d"; of all groups together; with its unit where that is no call. */
export function windowName({ name, windowMs, unit = "requests" }: WindowEvent): string {
  const spans: [number, string][] = [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "min"],
    [1_000, "s"],
  ];
  const [ms, word] = spans.find(([span]) => windowMs >= span) ?? [1, "ms"];
  const span = `${Number((windowMs / ms).toFixed(1))} ${word}`;
  return [name.startsWith("@") ? "all, " : "", span, unit === "requests" ? "" : ` ${unit}`].join("");
}

/** Refused and failed calls in words, the most frequent first; what is counted without a reason by its code. */
export function refusalsByCause({
  failures,
  refusals = {},
}: Pick<KeyGroupEvent, "failures"> & { refusals?: KeyGroupEvent["refusals"] | undefined }) {
  return Object.entries(failures)
    .flatMap(([code, all]) => {
      const reasons = Object.entries(refusals[code] ?? {});
      const rest = all - reasons.reduce((sum, [, n]) => sum + n, 0);
      return [
        { words: causeInWords(code, null), n: rest },
        ...reasons.map(([reason, n]) => ({ words: causeInWords(code, reason), n })),
      ];
    })
    .filter(({ n }) => n > 0)
    .toSorted((a, b) => b.n - a.n);
}

const inWords = (strategy: string) => strategy.replaceAll("_", " ");

/** What a row leaves out, for its tooltip. */
export function describe(group: KeyGroupEvent): string {
  const { state, cause, reason, cools, disabledLeftMs, waitsFor, medianLatencyMs, p95LatencyMs } = group;
  return [
    `${STATES[state].word}: ${cause ? `${causeInWords(cause, reason)}; ` : ""}${STATES[state].meaning}`,
    `${group.provider}, ${group.model}${group.simulated ? " (simulated)" : ""}`,
    `${group.calls} calls begun, ${group.inFlight} in flight, ${group.rejected429} refused with 429`,
    `chosen by ${inWords(group.routing)}${group.routing === "weighted" ? ` (weight ${group.weight})` : ""}${group.keys.length > 1 ? `, its keys by ${inWords(group.strategy)}` : ""}`,
    [
      `quality ${group.quality}`,
      group.pricePerCall === null ? "price unknown" : `${group.pricePerCall} a call`,
      group.region,
    ]
      .filter(Boolean)
      .join(", "),
    medianLatencyMs === null ? null : `latency: median ${duration(medianLatencyMs)}, P95 ${duration(p95LatencyMs)}`,
    cools && cools !== "group" && cools !== "key" ? `${cools} was full` : null,
    disabledLeftMs ? `tried again, or over, in ${duration(disabledLeftMs)}` : null,
    waitsFor === null ? null : `waits for ${waitsFor.window} another ${duration(waitsFor.leftMs)}`,
    `guard against jitter ${duration(group.guardMs)}`,
    ...group.keys.map(
      (key) => `${key.id}: ${STATES[key.state].word.toLowerCase()}, ${key.ok} of ${key.calls} answered`,
    ),
  ]
    .filter(Boolean)
    .join("\n");
}
