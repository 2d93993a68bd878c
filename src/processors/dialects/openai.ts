/**
 * OpenAI. Its texts name the window and, mostly, the wait ("Please try again in 20s"), which is shorter than what
 * x-ratelimit-reset-* says: those name when the window is wholly free again.
 */
import type { Dialect } from "./dialect.ts";
import { spanAfterMs } from "./told-wait.ts";

const ERRORS = "https://platform.openai.com/docs/guides/error-codes";
const LIMITS = "https://platform.openai.com/docs/guides/rate-limits";

export const openai: Dialect = {
  rules: [
    {
      statuses: [400, 403, 429],
      words:
        /insufficient_quota|billing_hard_limit|billing_not_active|exceeded your current quota|usage_limit_exceeded/,
      cause: "balance",
      says: "insufficient_quota: You exceeded your current quota, please check your plan and billing details.",
      source: ERRORS,
    },
    {
      statuses: [401],
      words: /invalid_api_key|incorrect api key|invalid authentication|account_deactivated|member of an organization/,
      cause: "key",
      says: "invalid_api_key: Incorrect API key provided.",
      source: ERRORS,
    },
    {
      statuses: [403],
      words: /does not have access to model|model_not_found/,
      cause: "model",
      cools: "key",
      blames: "key",
      says: "model_not_found: Project `…` does not have access to model `…`",
      source: "https://github.com/cursor/cursor/issues/2953",
    },
    {
      statuses: [400, 404],
      words: /model_not_found|model .{0,120}does not exist/,
      cause: "model",
      says: "model_not_found: The model `…` does not exist or you do not have access to it.",
      source: ERRORS,
    },
    {
      statuses: [403],
      words: /unsupported_country|country, region, or territory not supported/,
      cause: "key",
      cools: "group",
      blames: "group",
      says: "unsupported_country_region_territory: Country, region, or territory not supported",
      source: ERRORS,
    },
    {
      statuses: [400, 403],
      words: /content_policy|content_filter|safety system|usage polic/,
      cause: "content",
      says: "content_policy_violation: Your request was rejected as a result of our safety system.",
      source: "https://platform.openai.com/docs/guides/safety-best-practices",
    },
    {
      statuses: [429],
      words: /request too large/,
      cause: "request",
      // No wait helps here, but a group with a wider window may take it.
      retry: "elsewhere",
      says: "Request too large for … on tokens per min (TPM): Limit 30000, Requested 40000.",
      source: LIMITS,
    },
    {
      statuses: [429],
      words: /tokens per day|\btpd\b/,
      cause: "day",
      cools: "tokensPerDay",
      says: "rate_limit_exceeded: Rate limit reached for … on tokens per day (TPD)",
      source: LIMITS,
    },
    {
      statuses: [429],
      words: /requests per day|\brpd\b/,
      cause: "day",
      says: "rate_limit_exceeded: Rate limit reached for … on requests per day (RPD)",
      source: LIMITS,
    },
    {
      statuses: [429],
      words: /tokens per min|\btpm\b/,
      cause: "tokens",
      says: "rate_limit_exceeded: Rate limit reached for … on tokens per min (TPM)",
      source: LIMITS,
    },
    {
      statuses: [429],
      words: /per second|\brps\b/,
      cause: "rate_second",
      says: "rate_limit_exceeded: Rate limit reached for … on requests per second (RPS)",
      source: "https://help.openai.com/en/articles/5955604-how-can-i-so",
    },
    {
      statuses: [429],
      words: /requests per min|\brpm\b/,
      cause: "rate_minute",
      says: "rate_limit_exceeded: Rate limit reached for … on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.",
      source: LIMITS,
    },
    {
      statuses: [503],
      words: /slow[ _]down/,
      cause: "burst",
      says: "slow_down: Slow Down",
      source: ERRORS,
    },
  ],
  toldMs: ({ text }) => spanAfterMs(/try again in/, text),
};
