/**
 * What a quota window allows, said anew for tests: from the moments of the calls alone, sharing no code with what it
 * checks.
 */

export interface ModelWindow {
  limit: number;
  windowMs: number;
  unit?: "requests" | "tokens";
  kind?: "sliding" | "fixed" | "calendar" | "bucket";
  zone?: string | undefined;
}

export interface ModelCall {
  atMs: number;
  /** As known now. */
  tokens: number;
}

const costOf = (call: ModelCall, { unit }: ModelWindow) => (unit === "tokens" ? call.tokens : 1);
const sum = (calls: readonly ModelCall[], window: ModelWindow) =>
  calls.reduce((n, call) => n + costOf(call, window), 0);

const days = new Map<string, Intl.DateTimeFormat>();
export function dayIn(zone: string, atMs: number): string {
  const format = days.get(zone) ?? new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short" });
  days.set(zone, format);
  return format.format(atMs);
}

/** How much stands in the window beside a call at `atMs`, that call not counted. */
export function usedAt(calls: readonly ModelCall[], window: ModelWindow, atMs: number): number {
  const { windowMs, zone = "UTC", limit, kind = "sliding" } = window;
  switch (kind) {
    case "sliding":
      return sum(
        calls.filter((call) => call.atMs > atMs - windowMs && call.atMs <= atMs),
        window,
      );
    case "fixed":
      return sum(
        calls.filter((call) => Math.floor(call.atMs / windowMs) === Math.floor(atMs / windowMs)),
        window,
      );
    case "calendar":
      return sum(
        calls.filter((call) => dayIn(zone, call.atMs) === dayIn(zone, atMs)),
        window,
      );
    case "bucket": {
      // What is missing from the bucket: it refills all the time, up to its brim.
      let missing = 0;
      let last = Number.NEGATIVE_INFINITY;
      for (const call of calls.filter((one) => one.atMs <= atMs).toSorted((a, b) => a.atMs - b.atMs)) {
        missing = Math.max(0, missing - ((call.atMs - last) * limit) / windowMs) + costOf(call, window);
        last = call.atMs;
      }
      return Math.max(0, missing - ((atMs - last) * limit) / windowMs);
    }
    default:
      return kind satisfies never;
  }
}

/** A call of `tokens` at `atMs` is more than the window allows, beside these. */
export function exceeds(calls: readonly ModelCall[], window: ModelWindow, call: ModelCall): boolean {
  return usedAt(calls, window, call.atMs) + costOf(call, window) > window.limit + 1e-6;
}
