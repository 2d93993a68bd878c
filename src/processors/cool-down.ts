/** How long a key group rests after a refusal: what the provider said, else by how much of its work fails. Pure. */
import type { CoolingPolicy } from "../queues/call-policy.ts";
import type { Rest } from "../queues/quota.ts";
import type { RefusalCause, SortedRefusal } from "./refusal.ts";

/**
 *   early     as a window, but hardly at all while it is rare
 *   window    full for a moment: from the least that makes sense up to the policy's minimum
 *   minute    a window of a minute is full: from the policy's minimum up to that minute
 *   unheard   nobody answered: as a window; asking again costs no quota, and a provider's restart must not cost a minute
 *   trouble   now and then is none of a group's fault: shortly; from a fifth of its calls on by the policy's bounds
 *   none      nobody rests; or it is out of use, and probed (refusal-to-says.ts)
 */
type Stretch = "early" | "window" | "minute" | "unheard" | "trouble" | "none";

const STRETCHES: Record<RefusalCause, Stretch> = {
  rate_second: "early",
  burst: "window",
  rate_minute: "minute",
  tokens: "minute",
  day: "none",
  balance: "none",
  key: "none",
  model: "none",
  content: "none",
  request: "none",
  server: "trouble",
  timeout: "trouble",
  network: "unheard",
};

/**
 * A second's window that is full now and then is one that a call reached too early, by the jitter on its way: it is free again
 * in no time, and a second's rest each time would cost more than the refusals. Up to the share to which the guard lets such
 * refusals come (guard.lua), with room; beyond it, something else spends this quota, or the limit is another one.
 */
const EARLY_MS = 150;
const EARLY_SHARE = 0.05;
/** Up to this share of failures a group is in no trouble: a lone failure must not cost it ten seconds. */
export const TOLERATED_SHARE = 0.2;
const MINUTE_MS = 60_000;

/** What the provider said is believed exactly: neither stretched nor varied. */
export function coolDown(
  { cause, coolMs, told }: Pick<SortedRefusal, "cause" | "coolMs" | "told">,
  policy: CoolingPolicy,
): Rest {
  if (told || coolMs <= 0) return { kind: "fixed", ms: Math.max(0, Math.round(coolMs)), varies: false };
  const stretch = STRETCHES[cause];
  switch (stretch) {
    case "none":
      return { kind: "fixed", ms: 0, varies: false };
    case "early":
      if (!policy.adaptive) return between(coolMs, policy.minMs);
      return { ...between(coolMs, policy.minMs), calmMs: Math.min(EARLY_MS, coolMs), tolerated: EARLY_SHARE };
    case "window":
    case "unheard":
      return between(coolMs, policy.minMs);
    case "minute":
      if (!policy.adaptive) return { kind: "fixed", ms: policy.fixedMs, varies: true };
      return between(policy.minMs, Math.min(policy.maxMs, MINUTE_MS));
    case "trouble":
      if (!policy.adaptive) return { kind: "fixed", ms: policy.fixedMs, varies: true };
      return {
        ...between(policy.minMs, policy.maxMs),
        ...{ calmMs: Math.min(coolMs, policy.minMs), calmMostMs: policy.minMs, tolerated: TOLERATED_SHARE },
      };
    default:
      return stretch satisfies never;
  }
}

/** From `least` where nothing else fails to `most` where all does. */
const between = (least: number, most: number): Extract<Rest, { kind: "by_share" }> => ({
  kind: "by_share",
  calmMs: least,
  calmMostMs: Math.max(least, most),
  tolerated: 0,
  leastMs: least,
  mostMs: most,
});
