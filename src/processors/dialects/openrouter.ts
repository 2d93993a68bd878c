/**
 * OpenRouter. `error.code` is the HTTP status; what the provider behind it said is in the metadata. A 429 of a pool that
 * everybody shares is that provider's trouble and says nothing of our own windows. Errors after the model began come with
 * status 200 (vision-client.ts reads those).
 */
import { nextMidnightMs } from "./day-end.ts";
import type { Dialect, RefusedAnswer } from "./dialect.ts";
import { resetMs } from "./told-wait.ts";

const ERRORS = "https://openrouter.ai/docs/api/reference/errors-and-debugging";
const LIMITS = "https://openrouter.ai/docs/api/reference/limits";

export const openrouter: Dialect = {
  rules: [
    {
      statuses: [402],
      words: /(?:)/,
      cause: "balance",
      says: "This request requires more credits, or fewer max_tokens.",
      source: ERRORS,
    },
    {
      statuses: [403],
      words: /key limit exceeded|openrouter_key_limit/,
      cause: "balance",
      cools: "key",
      blames: "key",
      says: "Key limit exceeded (daily limit).",
      source: ERRORS,
    },
    {
      statuses: [403],
      words: /moderation|flagged|guardrail/,
      cause: "content",
      says: '… requires moderation on …. Your input was flagged for "violence".',
      source: ERRORS,
    },
    {
      statuses: [401],
      words: /(?:)/,
      cause: "key",
      says: "No auth credentials found; User not found.",
      source: ERRORS,
    },
    {
      statuses: [400, 404],
      words: /not a valid model id|no endpoints found|no allowed providers|unavailable for free/,
      cause: "model",
      says: "No endpoints found that support image input; … is not a valid model ID",
      source: ERRORS,
    },
    {
      // First: what the provider behind it said of its own days and minutes stands in the same answer.
      statuses: [429],
      words: /rate-limited upstream|upstream_provider|provider returned error/,
      cause: "server",
      says: "Provider returned error; metadata.raw: … is temporarily rate-limited upstream.",
      source: ERRORS,
    },
    {
      statuses: [429],
      words: /per-day|per day|daily/,
      cause: "day",
      says: "Rate limit exceeded: free-models-per-day.",
      source: "https://github.com/Gitlawb/openclaude/issues/936",
    },
    {
      statuses: [429],
      words: /per-min|per min|rate limit exceeded/,
      cause: "rate_minute",
      says: "Rate limit exceeded: free-models-per-min.",
      source: LIMITS,
    },
  ],
  toldMs: toldInMetadata,
  dayEndsMs: (nowMs) => nextMidnightMs(nowMs, "UTC"),
};

/** metadata: { retry_after_seconds } or { headers: { "Retry-After": s, "X-RateLimit-Reset": ms since the epoch } }. */
function toldInMetadata({ details, nowMs }: RefusedAnswer): number | undefined {
  const said = details ?? "";
  const seconds = /"retry_after_seconds":\s*(\d+(?:\.\d+)?)/i.exec(said) ?? /"retry-after":\s*"?(\d+)/i.exec(said);
  if (seconds) return Number(seconds[1]) * 1_000;
  return resetMs(/"x-ratelimit-reset":\s*"?(\d+)/i.exec(said)?.[1], nowMs);
}
