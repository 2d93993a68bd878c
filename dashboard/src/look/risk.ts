/** How a risk and an outcome look: a word, and a shape that goes with the colour. */
import type { OutcomeEvent } from "../../../src/events.ts";
import type { Outcome, RiskLevel } from "../../../src/messages.ts";

/** unknown: not assessed, hatched, never green. away: offline, stale or without live data, grey. */
export type Look = RiskLevel | "unknown" | "away";

export const LOOK_WORDS: Record<Look, string> = {
  none: "No risk",
  low: "Low",
  medium: "Medium",
  high: "High",
  unknown: "Not assessed",
  away: "No live data",
};

export const LOOKS: readonly Look[] = ["high", "medium", "low", "none", "unknown", "away"];

export const OUTCOME_WORDS: Record<Outcome, string> = {
  assessed: "Assessed",
  reused: "Reused",
  failed: "Failed",
  expired: "Expired",
  superseded: "Superseded",
};

/** Why there is no verdict, when nothing more particular is known. */
const UNJUDGED: Record<Outcome, string> = {
  assessed: "The answer held no verdict.",
  reused: "The answer held no verdict.",
  failed: "Every attempt to have it judged failed.",
  expired: "Its deadline passed before a call was free.",
  superseded: "A newer look at the same group took its place.",
};

/** The verdict, or null with the reason why there is none. */
export function verdictOf({ result }: OutcomeEvent) {
  const verdict = result.results[0];
  if (verdict && (result.outcome === "assessed" || result.outcome === "reused")) return { verdict, reason: null };
  return { verdict: null, reason: result.error?.message ?? UNJUDGED[result.outcome] };
}
