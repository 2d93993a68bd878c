/**
 * Gemini's OpenAI-compatible endpoint. Bodies are lists of one error; every 429 is RESOURCE_EXHAUSTED with the same first
 * sentence, and only the quota's id or metric tells which window. The delay that it names is that of a minute's window even
 * where the day is used up, so a day is believed to last until midnight Pacific time, as documented.
 */
import { nextMidnightMs } from "./day-end.ts";
import type { Dialect } from "./dialect.ts";
import { spanAfterMs } from "./told-wait.ts";

const ERRORS = "https://ai.google.dev/gemini-api/docs/troubleshooting";
const LIMITS = "https://ai.google.dev/gemini-api/docs/rate-limits";
const SEEN = "https://github.com/google-gemini/gemini-cli/issues/8437";

export const gemini: Dialect = {
  rules: [
    {
      statuses: [400, 401, 403],
      words: /api key not valid|api_key_invalid|api key expired|api key not found|reported as leaked/,
      cause: "key",
      says: "INVALID_ARGUMENT, with 400: API key not valid. Please pass a valid API key.",
      source: "https://github.com/continuedev/continue/issues/10530",
    },
    {
      statuses: [400],
      words: /failed_precondition|free tier is not available|user location is not supported/,
      cause: "balance",
      says: "FAILED_PRECONDITION: Gemini API free tier is not available in your country. Please enable billing.",
      source: ERRORS,
    },
    {
      statuses: [403],
      words: /permission_denied/,
      cause: "key",
      says: "PERMISSION_DENIED: Your API key doesn't have the required permissions.",
      source: ERRORS,
    },
    {
      statuses: [400, 404],
      words: /not_found|models?\/\S+ is not found|no longer available/,
      cause: "model",
      says: "NOT_FOUND: models/… is not found for API version v1main",
      source: ERRORS,
    },
    {
      statuses: [400],
      words: /prohibited_content|blocked|safety/,
      cause: "content",
      says: "The request was blocked: PROHIBITED_CONTENT",
      source: "https://ai.google.dev/gemini-api/docs/safety-settings",
    },
    {
      statuses: [429],
      words: /spend(ing)? cap|prepay|credits are depleted/,
      cause: "balance",
      says: "RESOURCE_EXHAUSTED: Your project has exceeded its monthly spending cap.",
      source: LIMITS,
    },
    {
      statuses: [429],
      words: /limit: 0\b/,
      cause: "model",
      says: "RESOURCE_EXHAUSTED: Quota exceeded for metric …, limit: 0, model: … (not in this plan)",
      source: "https://github.com/continuedev/continue/issues/10159",
    },
    {
      statuses: [429],
      words: /tokens?per(model)?(perproject)?perday|tokens_per_\w*day/,
      cause: "day",
      cools: "tokensPerDay",
      says: "RESOURCE_EXHAUSTED, quotaId …TokensPerModelPerDay…",
      source: LIMITS,
    },
    {
      statuses: [429],
      words: /per[ _]?day/,
      cause: "day",
      says: "RESOURCE_EXHAUSTED, quotaId GenerateRequestsPerDayPerProjectPerModel-FreeTier",
      source: SEEN,
    },
    {
      statuses: [429],
      words: /token_count|inputtokens|tokens ?per/,
      cause: "tokens",
      says: "RESOURCE_EXHAUSTED, quotaId GenerateContentInputTokensPerModelPerMinute-FreeTier",
      source: SEEN,
    },
    {
      statuses: [429],
      words: /resource_exhausted|per[ _]?minute|quota exceeded/,
      cause: "rate_minute",
      says: "RESOURCE_EXHAUSTED, quotaId GenerateRequestsPerMinutePerProjectPerModel-FreeTier: … Please retry in 11.1s.",
      source: SEEN,
    },
  ],
  toldMs: ({ text, details }) =>
    spanAfterMs(/"retrydelay":"/, (details ?? "").toLowerCase()) ?? spanAfterMs(/please retry in/, text),
  dayEndsMs: (nowMs) => nextMidnightMs(nowMs, "America/Los_Angeles"),
};
