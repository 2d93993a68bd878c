/**
 * Quota windows: what one is, how the keys' file says it, and the text by which the store knows it. Pure; what counts in
 * them is the scripts' (window-*.lua). docs/quota.md has the law of each kind.
 */
import { z } from "zod";
import { isTimeZone } from "./calendar.ts";
import { PROVIDERS, type ProviderName } from "./provider-presets.ts";

/** What a window counts: calls, or the tokens of prompt, picture and answer together. */
export const WINDOW_UNITS = ["requests", "tokens"] as const;
export type WindowUnit = (typeof WINDOW_UNITS)[number];

/**
 *   sliding    no span of the window's length holds more than the limit; safe with every provider, whatever its own kind
 *   fixed      begins anew at each multiple of its length on the store's clock
 *   calendar   a day of a time zone, 23 to 25 hours long
 *   bucket     a token bucket: holds `limit`, refills evenly within the window's length
 */
export const WINDOW_KINDS = ["sliding", "fixed", "calendar", "bucket"] as const;
export type WindowKind = (typeof WINDOW_KINDS)[number];

export interface QuotaWindow {
  /** For people. Begins with @: shared by all key groups that have it, whatever their account. */
  name: string;
  limit: number;
  windowMs: number;
  /** Absent: requests. */
  unit?: WindowUnit;
  /** Absent: sliding. */
  kind?: WindowKind;
  /** IANA name; calendar windows have one. */
  zone?: string;
}

export const DAY_MS = 86_400_000;
const SHORTHAND = {
  requestsPerSecond: { unit: "requests", windowMs: 1_000, most: 10_000 },
  requestsPerMinute: { unit: "requests", windowMs: 60_000, most: 600_000 },
  requestsPerDay: { unit: "requests", windowMs: DAY_MS, most: 100_000_000 },
  tokensPerMinute: { unit: "tokens", windowMs: 60_000, most: 1_000_000_000 },
} as const satisfies Record<string, { unit: WindowUnit; windowMs: number; most: number }>;
export type ShorthandName = keyof typeof SHORTHAND;
const SHORTHAND_NAMES = Object.keys(SHORTHAND) as ShorthandName[];

/** The largest limit that such a window may have. */
export const mostOf = (name: ShorthandName): number => SHORTHAND[name].most;
const limitOf = (name: ShorthandName) => z.number().int().min(1).max(mostOf(name)).optional();
const Zone = z.string().refine(isTimeZone, "is no time zone's name, such as America/Los_Angeles");
const Kind = z.enum(WINDOW_KINDS);

/** How a shorthand window counts: its kind alone, or a calendar day's zone with it. */
const Counting = z.union([Kind, z.strictObject({ kind: Kind, zone: Zone.optional() })]);

const OtherWindow = z
  .strictObject({
    /** For people, and unlike the other windows' names. Default: made of unit and length. */
    name: z
      .string()
      .regex(/^[A-Za-z][A-Za-z0-9._-]{0,39}$/)
      .optional(),
    limit: z.number().int().min(1).max(1_000_000_000),
    /** 100 ms to 31 days; a calendar window is a day, which is its default. */
    windowMs: z.number().int().min(100).max(2_678_400_000).optional(),
    unit: z.enum(WINDOW_UNITS).default("requests"),
    kind: Kind.default("sliding"),
    /** Of a calendar window. Default UTC. */
    zone: Zone.optional(),
  })
  .superRefine(({ kind, zone, windowMs }, context) => {
    const fault = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
    if (zone && kind !== "calendar") fault("zone", "only a window of kind calendar has a zone");
    if (kind === "calendar" && (windowMs ?? DAY_MS) !== DAY_MS)
      fault("windowMs", `a calendar window is a day (${DAY_MS})`);
    if (kind !== "calendar" && windowMs === undefined) fault("windowMs", "is missing");
  });

/** `windows:` of a key group in the keys' file. */
export const Windows = z
  .strictObject({
    requestsPerSecond: limitOf("requestsPerSecond"),
    requestsPerMinute: limitOf("requestsPerMinute"),
    requestsPerDay: limitOf("requestsPerDay"),
    tokensPerMinute: limitOf("tokensPerMinute"),
    /** Calls in flight at once. Default: no limit of its own. */
    maxConcurrent: z.number().int().min(1).max(10_000).optional(),
    /** Of the windows above, those that do not count as the provider's preset says (else: sliding). */
    kinds: z.partialRecord(z.enum(SHORTHAND_NAMES), Counting).default({}),
    /** Windows of any other length, unit and kind. */
    more: z.array(OtherWindow).default([]),
  })
  .superRefine((windows, context) => {
    if (windows.more.length === 0 && SHORTHAND_NAMES.every((name) => !windows[name]))
      context.addIssue({
        code: "custom",
        message: `needs at least one of ${SHORTHAND_NAMES.join(", ")}, or one in more`,
      });
    for (const name of Object.keys(windows.kinds) as ShorthandName[]) {
      const { kind, zone } = countingOf(windows.kinds[name]) ?? {};
      const fault = (message: string) => context.addIssue({ code: "custom", path: ["kinds", name], message });
      if (!windows[name]) fault(`there is no ${name}`);
      if (zone && kind !== "calendar") fault("only a window of kind calendar has a zone");
      if (kind === "calendar" && SHORTHAND[name].windowMs !== DAY_MS) fault("only a day can be a calendar's");
    }
    const names = [...SHORTHAND_NAMES.filter((name) => windows[name]), ...windows.more.map(nameOf)];
    for (const [i, name] of names.entries())
      if (names.indexOf(name) !== i)
        context.addIssue({ code: "custom", path: ["more"], message: `two windows are named ${name}` });
  });
export type Windows = z.infer<typeof Windows>;

function countingOf(counting: z.infer<typeof Counting> | undefined) {
  return typeof counting === "string" ? { kind: counting } : counting;
}

const nameOf = ({ name, unit, windowMs, kind, zone }: z.infer<typeof OtherWindow>) =>
  name ??
  `${unit}Per${kind === "calendar" ? `Day.${(zone ?? "UTC").replaceAll(/[^A-Za-z]+/g, "-")}` : `${windowMs}ms`}`;

/**
 * How a provider is known to count, where sliding would be wrong: a calendar's day lets more through than a sliding one just
 * after midnight, and less just before. All else is counted as sliding, which is right with every provider: a bucket too, since
 * what slides never exceeds it.
 */
function presetOf(provider: string, name: ShorthandName): { kind: WindowKind; zone: string } | undefined {
  const day = isProvider(provider) ? PROVIDERS[provider].windows.day : undefined;
  return name === "requestsPerDay" && day?.kind === "calendar" ? { kind: "calendar", zone: day.timeZone } : undefined;
}

const isProvider = (name: string): name is ProviderName => Object.hasOwn(PROVIDERS, name);

/** The windows that a group's entry in the keys' file means. `maxConcurrent` 0: no limit of its own. */
export function windowsOf(entry: Windows, provider: string): { windows: QuotaWindow[]; maxConcurrent: number } {
  const named = SHORTHAND_NAMES.flatMap((name): QuotaWindow[] => {
    const limit = entry[name];
    const { unit, windowMs } = SHORTHAND[name];
    const counting = countingOf(entry.kinds[name]) ?? presetOf(provider, name);
    return limit ? [quotaWindow({ name, limit, windowMs, unit, ...counting })] : [];
  });
  const others = entry.more.map((other) =>
    quotaWindow({ ...other, name: nameOf(other), windowMs: other.windowMs ?? DAY_MS }),
  );
  return { windows: [...named, ...others], maxConcurrent: entry.maxConcurrent ?? 0 };
}

type Said = Pick<QuotaWindow, "name" | "limit" | "windowMs"> & {
  unit: WindowUnit;
  kind?: WindowKind | undefined;
  zone?: string | undefined;
};

/** What goes without saying is left out. */
function quotaWindow({ name, limit, windowMs, unit, kind, zone }: Said): QuotaWindow {
  return {
    name,
    limit,
    windowMs,
    ...(unit === "tokens" && { unit }),
    ...(kind !== undefined && kind !== "sliding" && { kind }),
    ...(kind === "calendar" && { zone: zone ?? "UTC" }),
  };
}

const isShared = ({ name }: QuotaWindow) => name.startsWith("@");

/** Windows of one identity are one log, whatever they are called. */
const identityOf = ({ name, unit = "requests", kind = "sliding", windowMs, zone = "" }: QuotaWindow) =>
  [name.startsWith("@") ? "@" : "", unit, kind, windowMs, zone].join(":");

interface OfAccount {
  account: string;
  windows: readonly QuotaWindow[];
  maxConcurrent: number;
}

/**
 * An account's limits are those of all its groups together: each group's calls count in every window that any of them
 * names, and where two name the same window the tighter limit holds.
 */
export function windowsByAccount(
  groups: readonly OfAccount[],
): Map<string, { windows: QuotaWindow[]; maxConcurrent: number }> {
  const accounts = new Map<string, { windows: QuotaWindow[]; maxConcurrent: number }>();
  for (const [account, ofOne] of Map.groupBy(groups, (group) => group.account)) {
    const tightest = new Map<string, QuotaWindow>();
    for (const window of ofOne.flatMap(({ windows }) => windows)) {
      const known = tightest.get(identityOf(window));
      if (!known || window.limit < known.limit) tightest.set(identityOf(window), window);
    }
    const slots = ofOne.map(({ maxConcurrent }) => maxConcurrent).filter((most) => most > 0);
    accounts.set(account, {
      windows: [...tightest.values()],
      maxConcurrent: slots.length > 0 ? Math.min(...slots) : 0,
    });
  }
  return accounts;
}

/** "name:limit:windowMs:unit:kind:zone;…", as window-*.lua read it. */
export function windowsText(windows: readonly QuotaWindow[]): string {
  return windows
    .map(({ name, limit, windowMs, unit = "requests", kind = "sliding", zone = "" }) =>
      [name, limit, windowMs, unit, kind, zone].join(":"),
    )
    .join(";");
}

export const zonesOf = (groups: readonly { windows: readonly QuotaWindow[] }[]): string[] => [
  ...new Set(groups.flatMap(({ windows }) => windows.flatMap(({ zone }) => (zone ? [zone] : [])))),
];

/** Calls a second that a window allows for long; `tokensPerCall` is about what one call takes. */
export const callsPerSecond = ({ limit, windowMs, unit }: QuotaWindow, tokensPerCall: number) =>
  (limit * 1_000) / windowMs / (unit === "tokens" ? tokensPerCall : 1);

/** Calls a second that all groups together may make for long: each account's narrowest window counted once. */
export function sustainedRate(groups: readonly OfAccount[], tokensPerCall: number): number {
  let sum = 0;
  let shared = Number.POSITIVE_INFINITY;
  for (const { windows } of windowsByAccount(groups).values()) {
    const rate = (some: readonly QuotaWindow[]) => Math.min(...some.map((w) => callsPerSecond(w, tokensPerCall)));
    sum += rate(windows.filter((w) => !isShared(w)));
    shared = Math.min(shared, rate(windows.filter(isShared)));
  }
  return Math.min(sum, shared);
}
