/**
 * What a provider's refusal means: sorted by cause, with what rests, for how long, who is to blame and whether another may
 * do better. Pure. What each provider's words mean is in dialects/, one file a provider.
 */
import { type Blames, ERRORS, type ErrorCode, type Retry, VigilaneError } from "../errors.ts";
import type { Cools, RefusalCause, RefusedAnswer } from "./dialects/dialect.ts";
import { decidingRule, dialectOf } from "./dialects/registry.ts";
import { rateLimitResetMs, retryAfterMs } from "./dialects/told-wait.ts";

export { type Cools, REFUSAL_CAUSES, type RefusalCause, type RefusedAnswer } from "./dialects/dialect.ts";

export interface SortedRefusal {
  code: ErrorCode;
  cause: RefusalCause;
  /** What should get no calls for a while. */
  cools: Cools;
  /**
   * How long; 0: no reason to stay away. From the provider where it said so, else the least that makes sense (cool-down.ts
   * stretches it) or, of what is disabled, the time to its first probe.
   */
  coolMs: number;
  /** The provider itself named the time: believe it exactly. */
  told: boolean;
  blames: Blames;
  retry: Retry;
}

interface CauseRow {
  code: ErrorCode;
  cools: Cools;
  /** Cool-down, or time to the first probe, where the provider names none. */
  coolMs: number;
}

/** What is disabled is probed after so long, then after twice that, and so on to an hour (key-state.ts). */
const FIRST_PROBE_MS = 3_000;

export const CAUSES: Record<RefusalCause, CauseRow> = {
  rate_second: { code: "RATE_LIMITED", cools: "requestsPerSecond", coolMs: 1_000 },
  burst: { code: "RATE_LIMITED", cools: "group", coolMs: 2_000 },
  rate_minute: { code: "RATE_LIMITED", cools: "requestsPerMinute", coolMs: 10_000 },
  tokens: { code: "RATE_LIMITED", cools: "tokensPerMinute", coolMs: 10_000 },
  day: { code: "QUOTA_EXHAUSTED", cools: "requestsPerDay", coolMs: FIRST_PROBE_MS },
  balance: { code: "QUOTA_EXHAUSTED", cools: "group", coolMs: FIRST_PROBE_MS },
  key: { code: "KEY_REJECTED", cools: "key", coolMs: FIRST_PROBE_MS },
  model: { code: "MODEL_REFUSED", cools: "group", coolMs: FIRST_PROBE_MS },
  content: { code: "CONTENT_REFUSED", cools: "nothing", coolMs: 0 },
  request: { code: "REQUEST_REFUSED", cools: "nothing", coolMs: 0 },
  server: { code: "PROVIDER_FAILED", cools: "group", coolMs: 1_000 },
  timeout: { code: "CALL_TIMED_OUT", cools: "group", coolMs: 1_000 },
  network: { code: "PROVIDER_UNREACHABLE", cools: "group", coolMs: 1_000 },
};

/** No provider's word keeps a group away for longer. */
const MAX_COOL_MS = 24 * 3_600_000;
/** A wait of less says nothing of a day that is used up: it is that of a shorter window which the answer names as well. */
const LEAST_DAY_WAIT_MS = 600_000;

/** `provider`: the key group's; by default nobody's in particular. */
export function sortRefusal(answer: RefusedAnswer, provider = ""): SortedRefusal {
  const toldMs = retryAfterMs(answer) ?? dialectOf(provider).toldMs?.(answer) ?? rateLimitResetMs(answer);
  const rule = decidingRule(answer, provider);
  const cause = rule?.cause ?? causeByStatus(answer.status, toldMs);
  const { code, cools, coolMs } = CAUSES[cause];
  const knownMs = coolMs > 0 ? knownWaitMs(answer, provider, cause, toldMs) : undefined;
  return {
    code,
    cause,
    cools: rule?.cools ?? cools,
    coolMs: Math.ceil(Math.min(MAX_COOL_MS, knownMs ?? coolMs)),
    told: knownMs !== undefined,
    blames: rule?.blames ?? ERRORS[code].blames,
    retry: rule?.retry ?? ERRORS[code].retry,
  };
}

/** How long the provider says that it will take, by this answer or by its documentation; undefined: it does not say. */
function knownWaitMs(answer: RefusedAnswer, provider: string, cause: RefusalCause, toldMs: number | undefined) {
  if (cause !== "day") return toldMs;
  const dayEndsMs = dialectOf(provider).dayEndsMs?.(answer.nowMs);
  if (dayEndsMs === undefined || (toldMs ?? 0) >= LEAST_DAY_WAIT_MS) return toldMs;
  return dayEndsMs - answer.nowMs;
}

function causeByStatus(status: number | undefined, toldMs: number | undefined): RefusalCause {
  if (status === undefined) return "network";
  // Nothing but "too many requests": whoever is sent away for longer than a few seconds met a longer window.
  if (status === 429) return (toldMs ?? 0) > 3_000 ? "rate_minute" : "rate_second";
  if (status === 408 || status === 504) return "timeout";
  if (status >= 500) return "server";
  if (status === 401 || status === 403) return "key";
  if (status === 402) return "balance";
  // A model or path that is not there fails for every task of this group, and for none elsewhere.
  return status === 404 ? "model" : "request";
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
  /** Of the answer, as VisionAnswer.headers. */
  headers: Readonly<Record<string, string>> = {};

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
