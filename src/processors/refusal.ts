/**
 * What a provider's refusal means: sorted by cause, with how long to stay away and who is to blame. Pure.
 *
 * Sources: DashScope's, OpenAI's and Gemini's error pages, and what they were seen to answer. Providers use one code for
 * several causes (`insufficient_quota` is an unpaid account at OpenAI, but a token limit at DashScope), so the message
 * decides before the code does.
 */
import { type Blames, ERRORS, type ErrorCode, type Retry, VigilaneError } from "../errors.ts";

/**
 *   rate_second, burst     too many at once: a short cool-down
 *   rate_minute, tokens    a window of a minute is full: until it frees
 *   day, balance, key      nothing works before somebody or midnight acts: disabled, probed after `coolMs`
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
  "content",
  "request",
  "server",
  "timeout",
  "network",
] as const;
export type RefusalCause = (typeof REFUSAL_CAUSES)[number];

/** What is known of an answer that was no verdict. `status` undefined: there was no answer at all. */
export interface RefusedAnswer {
  status: number | undefined;
  /** The provider's own code and type. */
  code?: string | null | undefined;
  type?: string | null | undefined;
  text: string;
  /** Names in lower case. */
  headers: Readonly<Record<string, string>>;
  /** Moment of the answer, for headers that name a date. Wall clock, ms. */
  nowMs: number;
}

export interface SortedRefusal {
  code: ErrorCode;
  cause: RefusalCause;
  /** How long this key group (key: this key) should get no calls; 0: no reason to stay away. From the provider where it said so. */
  coolMs: number;
  /** The provider itself named the time: believe it exactly. */
  told: boolean;
  blames: Blames;
  retry: Retry;
}

interface CauseRow {
  code: ErrorCode;
  /** Cool-down where the provider names none. */
  coolMs: number;
}

const CAUSES: Record<RefusalCause, CauseRow> = {
  rate_second: { code: "RATE_LIMITED", coolMs: 1_000 },
  burst: { code: "RATE_LIMITED", coolMs: 2_000 },
  rate_minute: { code: "RATE_LIMITED", coolMs: 10_000 },
  tokens: { code: "RATE_LIMITED", coolMs: 10_000 },
  day: { code: "QUOTA_EXHAUSTED", coolMs: 600_000 },
  balance: { code: "QUOTA_EXHAUSTED", coolMs: 60_000 },
  key: { code: "KEY_REJECTED", coolMs: 60_000 },
  content: { code: "CONTENT_REFUSED", coolMs: 0 },
  request: { code: "REQUEST_REFUSED", coolMs: 0 },
  server: { code: "PROVIDER_FAILED", coolMs: 1_000 },
  timeout: { code: "CALL_TIMED_OUT", coolMs: 1_000 },
  network: { code: "PROVIDER_UNREACHABLE", coolMs: 1_000 },
};

/** No provider's word keeps a group away for longer. */
const MAX_COOL_MS = 24 * 3_600_000;

export function sortRefusal(answer: RefusedAnswer): SortedRefusal {
  const toldMs = toldWaitMs(answer);
  const cause = causeOf(answer, toldMs);
  const { code, coolMs } = CAUSES[cause];
  const coolable = coolMs > 0;
  const sorted: SortedRefusal = {
    code,
    cause,
    coolMs: coolable ? Math.min(MAX_COOL_MS, toldMs ?? coolMs) : 0,
    told: coolable && toldMs !== undefined,
    blames: ERRORS[code].blames,
    retry: ERRORS[code].retry,
  };
  // A model or path that is not there fails for every task of this group, and for none elsewhere.
  return answer.status === 404 ? { ...sorted, blames: "group", retry: "elsewhere", coolMs: 10_000 } : sorted;
}

/** A refused, failed or unanswered call. Its message holds what the provider said, without secrets. */
export class Refusal extends VigilaneError {
  readonly sorted: SortedRefusal;
  /** HTTP status; undefined: there was no answer. */
  readonly status: number | undefined;
  /** Ours may differ from the table's row: a time-out that our own deadline caused blames nobody. */
  override readonly blames: Blames;
  override readonly retry: Retry;

  /** The provider surely has not seen the request: it is no attempt. */
  readonly neverSent: boolean;
  /** The network's part of the round trip, ms; null: not known. */
  networkMs: number | null = null;

  constructor(sorted: SortedRefusal, message: string, status?: number, neverSent = false) {
    super(sorted.code, message);
    this.neverSent = neverSent;
    this.name = "Refusal";
    this.sorted = sorted;
    this.status = status;
    this.blames = sorted.blames;
    this.retry = sorted.retry;
  }
}

function causeOf({ status, code, type, text }: RefusedAnswer, toldMs: number | undefined): RefusalCause {
  if (status === undefined) return "network";
  const said = `${code ?? ""} ${type ?? ""} ${text}`.toLowerCase();
  const rule = RULES.find(({ statuses, words }) => statuses.includes(status) && words.test(said));
  if (rule) return rule.cause;
  // Nothing but "too many requests": whoever is sent away for longer than a few seconds met a longer window.
  if (status === 429) return (toldMs ?? 0) > 3_000 ? "rate_minute" : "rate_second";
  if (status === 408 || status === 504) return "timeout";
  if (status >= 500) return "server";
  if (status === 401 || status === 403) return "key";
  if (status === 402) return "balance";
  return "request";
}

/** The first rule that fits decides. Words are matched against code, type and message together, in lower case. */
const RULES: readonly { statuses: readonly number[]; words: RegExp; cause: RefusalCause }[] = [
  {
    statuses: [400, 401, 402, 403, 429],
    words: /arrear|overdue|access denied, please make sure your account is in good standing/,
    cause: "balance",
  },
  {
    statuses: [400, 401, 403],
    words: /invalid[ _-]?api[ _-]?key|incorrect api key|api key not valid|api_key_invalid/,
    cause: "key",
  },
  { statuses: [400, 403], words: /freetieronly|free tier of the model has been exhausted/, cause: "balance" },
  {
    statuses: [400, 403, 422, 451],
    words: /data_?inspection|content[ _-]?(filter|policy|moderation)|inappropriate|safety system/,
    cause: "content",
  },
  { statuses: [429], words: /increased too quickly|burst|concurren/, cause: "burst" },
  { statuses: [429], words: /per[ _-]?day|\brpd\b|\btpd\b|daily/, cause: "day" },
  { statuses: [429], words: /per[ _-]?second|\brps\b|\bqps\b/, cause: "rate_second" },
  {
    statuses: [429],
    words: /token-limit|allocat(ed|ion)[ .]?quota|tokens?[ _-]?per[ _-]?min|\btpm\b|\btps\b/,
    cause: "tokens",
  },
  { statuses: [429], words: /per[ _-]?minute|\brpm\b/, cause: "rate_minute" },
  {
    statuses: [429],
    words: /platform\.openai\.com|insufficient[ _]balance|credit balance|billing_hard_limit|not enough credits/,
    cause: "balance",
  },
  { statuses: [429], words: /exceeded your current quota|insufficient_quota/, cause: "tokens" },
];

/**
 * How long the provider asks to wait, ms; undefined: it said nothing usable. Retry-After first (seconds or a date), then
 * the reset of whatever x-ratelimit says is used up.
 */
function toldWaitMs({ status, headers, nowMs }: RefusedAnswer): number | undefined {
  const asked = plainNumber(headers["retry-after-ms"]) ?? secondsOrDateMs(headers["retry-after"], nowMs);
  if (asked !== undefined) return asked;
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

const UNITS_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** "120ms", "6m0s", "1.5s", seconds, seconds or milliseconds since the epoch, or a date. */
function resetMs(value: string | undefined, nowMs: number): number | undefined {
  const number = plainNumber(value);
  if (number !== undefined) {
    if (number > 1e12) return Math.max(0, number - nowMs);
    return number > 1e9 ? Math.max(0, number * 1_000 - nowMs) : number * 1_000;
  }
  const text = (value ?? "").trim();
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return secondsOrDateMs(value, nowMs);
  return [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)].reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * (UNITS_MS[unit ?? ""] ?? 0),
    0,
  );
}

/** What a provider said, fit for logs: without the secret, without anything that looks like a key, at most 300 characters. */
export function withoutSecrets(text: string, secret = ""): string {
  const known = secret === "" ? text : text.replaceAll(secret, "[redacted]");
  return known
    .replaceAll(/\bBearer\s+\S+/gi, "Bearer [redacted]")
    .replaceAll(/\b(sk|pk|api|key|ak)-[\w*.-]{6,}/gi, "[redacted]")
    .replaceAll(/\s+/g, " ")
    .trim()
    .slice(0, 300)
    .toWellFormed();
}
