/** Numbers as people read them, and times as they write them. Pure. */
import { VigilaneError } from "../errors.ts";

const UNITS_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const BYTES: readonly [unit: string, bytes: number][] = [
  ["GiB", 2 ** 30],
  ["MiB", 2 ** 20],
  ["KiB", 2 ** 10],
];

export const showCount = (count: number) => count.toLocaleString("en-GB");

export function showBytes(bytes: number): string {
  const [unit, size] = BYTES.find(([, least]) => bytes >= least) ?? ["B", 1];
  return `${Number((bytes / size).toFixed(1))} ${unit}`;
}

/** 0.4 s, 75 s, 12 min, 7.5 h, 7 d. */
export function showDuration(ms: number): string {
  const rounded = (unitMs: number, digits = 1) => Number((ms / unitMs).toFixed(digits));
  if (ms < 2 * UNITS_MS.m) return `${rounded(UNITS_MS.s)} s`;
  if (ms < UNITS_MS.h) return `${rounded(UNITS_MS.m)} min`;
  if (ms < 2 * UNITS_MS.d) return `${rounded(UNITS_MS.h)} h`;
  return `${rounded(UNITS_MS.d)} d`;
}

export const showTime = (ms: number) => (Number.isFinite(ms) && ms > 0 ? new Date(ms).toISOString() : "unknown");

/**
 * "earliest", "latest", an ISO 8601 time (UTC where it says nothing else), or how long ago: 90s, 10m, 2h, 1d. Before 1970 there
 * was no message, and Kafka has other meanings for negative times: that is the earliest.
 */
export function readWhen(flag: string, text: string, nowMs: number): number | "earliest" | "latest" {
  if (text === "earliest" || text === "latest") return text;
  const [, number, unit] = /^(\d+(?:\.\d+)?)([smhd])$/.exec(text) ?? [];
  if (number !== undefined) return since1970(nowMs - Number(number) * UNITS_MS[unit as keyof typeof UNITS_MS]);
  const iso = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$/.exec(text);
  const at = iso ? Date.parse(iso[1] === undefined || iso[4] !== undefined ? text : `${text}Z`) : Number.NaN;
  if (Number.isFinite(at)) return since1970(at);
  throw new VigilaneError("SETTINGS_INVALID", `flag --${flag}: ${JSON.stringify(text)} is no time`, {
    remedy: "Write earliest, latest, a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 10m, 2h, 1d.",
  });
}

const since1970 = (ms: number) => (ms < 0 ? "earliest" : ms);
