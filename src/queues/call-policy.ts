/**
 * The contract of how a key group's calls are tried again and how long it rests when its provider is in trouble; with
 * defaults, and with the fields by which older keys' files say the same.
 */
import { z } from "zod";

export interface CoolingPolicy {
  /** True: the rest grows with the share of recent calls that failed, from minMs to maxMs. False: always fixedMs. Default true. */
  adaptive: boolean;
  /** Ms. Default 10,000. */
  minMs: number;
  /** Ms. Default 120,000. */
  maxMs: number;
  /** Ms, where it is not adaptive. Default 60,000. */
  fixedMs: number;
}

export interface RetryPolicy {
  /** Calls after the first one. Default 2. */
  maxRetries: number;
  /** The group that failed is left alone for baseMs × 2^n after the n-th failure of a task. Default 1,000. */
  baseMs: number;
  /** But never for longer. Default 30,000. */
  capMs: number;
}

export interface CallPolicy {
  cooling: CoolingPolicy;
  retry: RetryPolicy;
}

export const DEFAULT_COOLING: CoolingPolicy = { adaptive: true, minMs: 10_000, maxMs: 120_000, fixedMs: 60_000 };
export const DEFAULT_RETRY: RetryPolicy = { maxRetries: 2, baseMs: 1_000, capMs: 30_000 };

const seconds = () => z.number().positive().max(86_400);
const OlderFields = z.looseObject({
  max_retry_per_key: z.number().int().min(0).max(10).optional(),
  default_cooldown: seconds().optional(),
  cooling: z.looseObject({ min_cooldown: seconds().optional(), max_cooldown: seconds().optional() }).optional(),
  adaptive_cooldown: z
    .looseObject({
      enabled: z.boolean().optional(),
      min_cooldown: seconds().optional(),
      max_cooldown: seconds().optional(),
    })
    .optional(),
  key_cooldown_seconds: seconds().optional(),
});

/** Reading of older fields: the policy, and what is wrong with them in words ("cooling.min_cooldown: …"). */
export interface ReadPolicy {
  policy: CallPolicy;
  faults: string[];
}

/**
 * What an older keys' file says, at its top or under `scheduler`: max_retry_per_key; default_cooldown or
 * key_cooldown_seconds; cooling or adaptive_cooldown { enabled, min_cooldown, max_cooldown }; all in seconds. A file that
 * names a fixed cool-down alone means that one; where it names bounds, those count.
 */
export function readOlderPolicy(raw: unknown): ReadPolicy {
  const policy: CallPolicy = { cooling: { ...DEFAULT_COOLING }, retry: { ...DEFAULT_RETRY } };
  const parsed = OlderFields.safeParse(raw ?? {});
  if (!parsed.success)
    return { policy, faults: parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`) };
  const { max_retry_per_key, default_cooldown, key_cooldown_seconds, cooling, adaptive_cooldown } = parsed.data;
  const bounds = { ...cooling, ...adaptive_cooldown };
  const fixed = default_cooldown ?? key_cooldown_seconds;
  if (max_retry_per_key !== undefined) policy.retry.maxRetries = max_retry_per_key;
  if (fixed !== undefined) policy.cooling.fixedMs = fixed * 1_000;
  if (bounds.min_cooldown !== undefined) policy.cooling.minMs = bounds.min_cooldown * 1_000;
  if (bounds.max_cooldown !== undefined) policy.cooling.maxMs = bounds.max_cooldown * 1_000;
  const named = bounds.min_cooldown !== undefined || bounds.max_cooldown !== undefined;
  policy.cooling.adaptive = adaptive_cooldown?.enabled ?? (named || fixed === undefined);
  const faults =
    policy.cooling.minMs > policy.cooling.maxMs ? ["min_cooldown: must not be longer than max_cooldown"] : [];
  return { policy, faults };
}
