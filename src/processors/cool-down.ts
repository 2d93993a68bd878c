/** How long a key group (or key) rests after a refusal: what the provider said, else by how much of its work fails. Pure. */
import type { CoolingPolicy } from "../queues/call-policy.ts";
import type { RefusalCause, SortedRefusal } from "./refusal.ts";

/**
 *   window    full for a moment: from the least that makes sense up to the policy's minimum
 *   minute    a window of a minute is full: from the policy's minimum up to that minute
 *   unheard   nobody answered: as a window; asking again costs no quota, and a provider's restart must not cost a minute
 *   trouble   now and then is none of a group's fault: shortly; from a fifth of its calls on by the policy's bounds
 *   disabled  out of use until somebody or midnight acts: the time to the next look at it
 *   none      nobody rests
 */
type Stretch = "window" | "minute" | "unheard" | "trouble" | "disabled" | "none";

const STRETCHES: Record<RefusalCause, Stretch> = {
  rate_second: "window",
  burst: "window",
  rate_minute: "minute",
  tokens: "minute",
  day: "disabled",
  balance: "disabled",
  key: "disabled",
  model: "disabled",
  content: "none",
  request: "none",
  server: "trouble",
  timeout: "trouble",
  network: "unheard",
};

/** Up to this share of failures a group is in no trouble: a lone failure must not cost it ten seconds. */
export const TOLERATED_SHARE = 0.2;
/** Rests are longer by up to this share of them, by chance, so that not everybody comes back at once. */
const JITTER = 0.2;
const MINUTE_MS = 60_000;

/**
 * Whole ms, never negative. `failureShare`: of the group's recent calls, 0 to 1 (failure-share.ts). `random`: 0 to below 1.
 * What the provider said is believed exactly: neither stretched nor varied.
 */
export function coolDownMs(
  { cause, coolMs, told }: Pick<SortedRefusal, "cause" | "coolMs" | "told">,
  failureShare: number,
  policy: CoolingPolicy,
  random: number,
): number {
  if (told || coolMs <= 0) return Math.max(0, coolMs);
  const share = Math.min(1, Math.max(0, failureShare));
  const stretch = STRETCHES[cause];
  switch (stretch) {
    case "none":
      return 0;
    case "disabled":
      return varied(coolMs, Number.POSITIVE_INFINITY, random);
    case "window":
    case "unheard":
      return between(coolMs, policy.minMs, share, random);
    case "minute":
      if (!policy.adaptive) return varied(policy.fixedMs, Number.POSITIVE_INFINITY, random);
      return between(policy.minMs, Math.min(policy.maxMs, MINUTE_MS), share, random);
    case "trouble":
      if (!policy.adaptive) return varied(policy.fixedMs, Number.POSITIVE_INFINITY, random);
      if (share <= TOLERATED_SHARE) return varied(Math.min(coolMs, policy.minMs), policy.minMs, random);
      return between(policy.minMs, policy.maxMs, (share - TOLERATED_SHARE) / (1 - TOLERATED_SHARE), random);
    default:
      return stretch satisfies never;
  }
}

/** From `least` at share 0 to `most` at share 1, the variation included. */
function between(least: number, most: number, share: number, random: number): number {
  const top = Math.max(least, most);
  return varied(least + (Math.max(least, top / (1 + JITTER)) - least) * share, top, random);
}

/** Whole ms: Redis expires nothing after parts of one. */
const varied = (ms: number, mostMs: number, random: number) => Math.min(mostMs, Math.round(ms * (1 + JITTER * random)));
