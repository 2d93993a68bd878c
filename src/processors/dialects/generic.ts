/**
 * What servers that call themselves OpenAI-compatible are known to say, whoever they are; and what is tried where a
 * provider's own rules know nothing. One code may stand for several causes (`insufficient_quota` is an unpaid account at
 * OpenAI, but a token limit at DashScope), so words of the message come before codes.
 */
import type { Dialect } from "./dialect.ts";

const COMPATIBLE = "https://platform.openai.com/docs/guides/error-codes";
const HTTP = "https://www.rfc-editor.org/rfc/rfc9110";

export const generic: Dialect = {
  rules: [
    {
      statuses: [400, 401, 402, 403, 429],
      words: /arrear|overdue|access denied, please make sure your account is in good standing/,
      cause: "balance",
      says: "Arrearage; account overdue",
      source: "https://www.alibabacloud.com/help/en/model-studio/error-code",
    },
    {
      statuses: [400, 401, 403],
      words: /invalid[ _-]?api[ _-]?key|incorrect api key|api key not valid|api_key_invalid/,
      cause: "key",
      says: "invalid_api_key: Incorrect API key provided.",
      source: COMPATIBLE,
    },
    {
      statuses: [400, 403],
      words: /freetieronly|free tier of the model has been exhausted/,
      cause: "balance",
      says: "The free tier of the model has been exhausted.",
      source: "https://www.alibabacloud.com/help/en/model-studio/error-code",
    },
    {
      statuses: [400, 403],
      words: /does not have access to (the )?model|access to model denied|not allowed to access model|model_not_found/,
      cause: "model",
      cools: "key",
      blames: "key",
      says: "… does not have access to model …",
      source: COMPATIBLE,
    },
    {
      statuses: [400, 403, 422, 451],
      words: /data_?inspection|content[ _-]?(filter|policy|moderation)|inappropriate|safety system/,
      cause: "content",
      says: "content_filter; content_policy_violation; rejected by our safety system",
      source: COMPATIBLE,
    },
    {
      statuses: [429],
      words: /increased too quickly|burst|concurren/,
      cause: "burst",
      says: "Too many concurrent requests",
      source: HTTP,
    },
    {
      statuses: [429],
      words: /per[ _-]?day|\brpd\b|\btpd\b|daily/,
      cause: "day",
      says: "… requests per day",
      source: COMPATIBLE,
    },
    {
      statuses: [429],
      words: /per[ _-]?second|\brps\b|\bqps\b/,
      cause: "rate_second",
      says: "… requests per second",
      source: COMPATIBLE,
    },
    {
      statuses: [429],
      words: /token-limit|allocat(ed|ion)[ .]?quota|tokens?[ _-]?per[ _-]?min|\btpm\b|\btps\b/,
      cause: "tokens",
      says: "… tokens per minute",
      source: COMPATIBLE,
    },
    {
      statuses: [429],
      words: /per[ _-]?minute|\brpm\b/,
      cause: "rate_minute",
      says: "… requests per minute",
      source: COMPATIBLE,
    },
    {
      statuses: [429],
      words: /platform\.openai\.com|insufficient[ _]balance|credit balance|billing_hard_limit|not enough credits/,
      cause: "balance",
      says: "insufficient balance; not enough credits",
      source: COMPATIBLE,
    },
    {
      statuses: [429],
      words: /exceeded your current quota|insufficient_quota/,
      cause: "tokens",
      says: "You exceeded your current quota",
      source: "https://www.alibabacloud.com/help/en/model-studio/rate-limit",
    },
  ],
};
