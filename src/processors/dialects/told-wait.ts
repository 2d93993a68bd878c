/** How long an answer's headers, or a text in the form of one, ask to wait. Pure. */
import type { RefusedAnswer } from "./dialect.ts";

/** Retry-After in its two forms (seconds or a date) and in OpenAI's (ms); undefined: nothing usable. */
export function retryAfterMs({ headers, nowMs }: RefusedAnswer): number | undefined {
  return plainNumber(headers["retry-after-ms"]) ?? secondsOrDateMs(headers["retry-after"], nowMs);
}

/** The reset of whatever x-ratelimit says is used up: only of a refusal for quota, others carry them too. */
export function rateLimitResetMs({ status, headers, nowMs }: RefusedAnswer): number | undefined {
  if (status !== 429) return undefined;
  const waits = Object.keys(headers)
    .filter((name) => name.startsWith("x-ratelimit-reset"))
    .filter((name) => (plainNumber(headers[name.replace("-reset", "-remaining")]) ?? 0) <= 0)
    .map((name) => resetMs(headers[name], nowMs))
    .filter((ms) => ms !== undefined);
  return waits.length === 0 ? undefined : Math.max(...waits);
}

const plainNumber = (value: string | undefined): number | undefined =>
  value !== undefined && /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : undefined;

function secondsOrDateMs(value: string | undefined, nowMs: number): number | undefined {
  const seconds = plainNumber(value);
  if (seconds !== undefined) return seconds * 1_000;
  const date = value === undefined || !/[a-z]/i.test(value) ? Number.NaN : Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}

/** "120ms", "6m0s", "1.5s", seconds, seconds or milliseconds since the epoch, or a date. */
export function resetMs(value: string | undefined, nowMs: number): number | undefined {
  const number = plainNumber(value);
  if (number !== undefined) {
    if (number > 1e12) return Math.max(0, number - nowMs);
    return number > 1e9 ? Math.max(0, number * 1_000 - nowMs) : number * 1_000;
  }
  return spanMs((value ?? "").trim()) ?? secondsOrDateMs(value, nowMs);
}

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** "120ms", "6m0s", "10h50m43.65s"; undefined: no span. */
export function spanMs(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  return [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)].reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * (UNITS_MS[unit ?? ""] ?? 0),
    0,
  );
}

/** The span that follows a phrase in a text ("please try again in 20s."); undefined: there is none. */
export function spanAfterMs(phrase: RegExp, text: string): number | undefined {
  const found = new RegExp(`${phrase.source}\\s*((?:\\d+(?:\\.\\d+)?(?:ms|s|m|h|d))+)`, "i").exec(text)?.[1];
  return found === undefined ? undefined : spanMs(found.toLowerCase());
}
