/**
 * The contract of dialects: what a provider's words mean. One file a provider, rules in the order in which they are
 * tried; what no rule of a provider knows is tried by those of generic.ts, and then by its status alone.
 */
import type { Blames, Retry } from "../../errors.ts";

/**
 *   rate_second, burst     too many at once: a short cool-down
 *   rate_minute, tokens    a window of a minute is full: until it frees
 *   day, balance, key, model   nothing works before somebody or midnight acts: out of use for longer
 *   content, request       this task alone; key and group are innocent
 *   server, timeout, network   the provider's trouble: elsewhere, and the group's failure rate stretches its cool-down
 */
export const REFUSAL_CAUSES = [
  "rate_second",
  "rate_minute",
  "burst",
  "tokens",
  "day",
  "balance",
  "key",
  "model",
  "content",
  "request",
  "server",
  "timeout",
  "network",
] as const;
export type RefusalCause = (typeof REFUSAL_CAUSES)[number];

/** What gets no calls for a while: the window that was full (and so all that shares it), the whole group, one key, nothing. */
export type Cools =
  | "requestsPerSecond"
  | "requestsPerMinute"
  | "tokensPerMinute"
  | "requestsPerDay"
  | "tokensPerDay"
  | "maxConcurrent"
  | "group"
  | "key"
  | "nothing";

/** What is known of an answer that was no verdict. `status` undefined: there was no answer at all. */
export interface RefusedAnswer {
  status: number | undefined;
  /** The provider's own code and type. */
  code?: string | null | undefined;
  type?: string | null | undefined;
  text: string;
  /** What else its body says of the error, as JSON text: quota ids, delays, what lies behind a router. */
  details?: string | undefined;
  /** Names in lower case. */
  headers: Readonly<Record<string, string>>;
  /** Moment of the answer, for headers that name a date. Wall clock, ms. */
  nowMs: number;
}

export interface DialectRule {
  statuses: readonly number[];
  /** Matched against code, type, message and details together, in lower case. */
  words: RegExp;
  cause: RefusalCause;
  /** Where these differ from what the cause says (refusal.ts, CAUSES). */
  cools?: Cools;
  blames?: Blames;
  retry?: Retry;
  /** The answer as people meet it: for docs/providers.md. */
  says: string;
  /** Where the provider documents it, or where it was seen. */
  source: string;
}

export interface Dialect {
  /** The first that fits decides. */
  rules: readonly DialectRule[];
  /** The wait that the body names, ms, where this provider does; undefined: it names none. Retry-After comes before it. */
  toldMs?: (answer: RefusedAnswer) => number | undefined;
  /** When a day's quota is full again, where the provider documents it. Wall clock, ms. */
  dayEndsMs?: (nowMs: number) => number;
}

/** Everything that an answer says, for the rules' words. */
export const allWords = ({ code, type, text, details }: RefusedAnswer): string =>
  `${code ?? ""} ${type ?? ""} ${text} ${details ?? ""}`.toLowerCase();
