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

const Seconds = z.number().min(0).max(86_400);
const Bounds = { min_cooldown: Seconds.optional(), max_cooldown: Seconds.optional() };
/** The fields by which an older keys' file says it, at its top or under `scheduler`; times in seconds, 0: no rest. */
export const OLDER_POLICY_FIELDS = {
  max_retry_per_key: z.number().int().min(0).max(100).optional(),
  default_cooldown: Seconds.optional(),
  key_cooldown_seconds: Seconds.optional(),
  cooling: z.looseObject(Bounds).optional(),
  adaptive_cooldown: z.looseObject({ enabled: z.boolean().optional(), ...Bounds }).optional(),
};
const OlderFields = z.looseObject(OLDER_POLICY_FIELDS);

/** Reading of older fields: the policy, what is wrong with them and where, and what is to be said of them. */
export interface ReadPolicy {
  policy: CallPolicy;
  faults: { place: (string | number)[]; what: string }[];
  notices: string[];
}

/**
 * What an older keys' file says: max_retry_per_key; default_cooldown or key_cooldown_seconds; cooling or adaptive_cooldown
 * { enabled, min_cooldown, max_cooldown }. A file that names a fixed cool-down alone means that one; where it names bounds,
 * those count. One bound alone moves the other's default where they would cross.
 */
export function readOlderPolicy(raw: unknown): ReadPolicy {
  const policy: CallPolicy = { cooling: { ...DEFAULT_COOLING }, retry: { ...DEFAULT_RETRY } };
  const read: ReadPolicy = { policy, faults: [], notices: [] };
  const parsed = OlderFields.safeParse(raw ?? {});
  if (!parsed.success) {
    read.faults = parsed.error.issues.map(({ path, message }) => ({
      place: path as (string | number)[],
      what: message,
    }));
    return read;
  }
  const { max_retry_per_key, default_cooldown, key_cooldown_seconds, cooling, adaptive_cooldown } = parsed.data;
  const { min_cooldown: least, max_cooldown: most } = { ...cooling, ...adaptive_cooldown };
  const fixed = default_cooldown ?? key_cooldown_seconds;
  if (max_retry_per_key !== undefined) policy.retry.maxRetries = max_retry_per_key;
  if (fixed !== undefined) policy.cooling.fixedMs = fixed * 1_000;
  if (least !== undefined) policy.cooling.minMs = least * 1_000;
  if (most !== undefined) policy.cooling.maxMs = most * 1_000;
  policy.cooling.adaptive =
    adaptive_cooldown?.enabled ?? (least !== undefined || most !== undefined || fixed === undefined);
  if (policy.cooling.minMs <= policy.cooling.maxMs) return read;
  if (least !== undefined && most !== undefined) {
    const list = adaptive_cooldown?.min_cooldown === undefined ? "cooling" : "adaptive_cooldown";
    read.faults.push({ place: [list, "min_cooldown"], what: "must not be longer than max_cooldown" });
  } else if (least !== undefined) {
    policy.cooling.maxMs = policy.cooling.minMs;
    read.notices.push(
      `min_cooldown is longer than the usual max_cooldown of ${DEFAULT_COOLING.maxMs / 1_000} s: both are ${least} s`,
    );
  } else {
    policy.cooling.minMs = policy.cooling.maxMs;
    read.notices.push(
      `max_cooldown is shorter than the usual min_cooldown of ${DEFAULT_COOLING.minMs / 1_000} s: both are ${most} s`,
    );
  }
  return read;
}
