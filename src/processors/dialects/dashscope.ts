/**
 * DashScope (Alibaba Cloud Model Studio, Qwen). One code stands for several causes and the texts do not say which window
 * is full; limits of a minute may be enforced as a sixtieth of them each second, so a refused rate rests for a second
 * first. Nothing is said about how long to wait.
 */
import type { Dialect } from "./dialect.ts";

const ERRORS = "https://www.alibabacloud.com/help/en/model-studio/error-code";
const LIMITS = "https://www.alibabacloud.com/help/en/model-studio/rate-limit";

export const dashscope: Dialect = {
  rules: [
    {
      statuses: [400, 401, 402, 403, 429],
      words: /arrear|overdue|access denied, ple[as]*e make sure your account is in good standing/,
      cause: "balance",
      says: "Arrearage: Access denied, please make sure your account is in good standing.",
      source: ERRORS,
    },
    {
      statuses: [400, 403],
      words: /freetieronly|free tier of the model has been exhausted/,
      cause: "balance",
      says: "AllocationQuota.FreeTierOnly: The free tier of the model has been exhausted.",
      source: ERRORS,
    },
    {
      statuses: [400, 401, 403],
      words: /invalid[ _-]?api[ _-]?key|incorrect api key|invalid access token/,
      cause: "key",
      says: "invalid_api_key: Incorrect API key provided.",
      source: ERRORS,
    },
    {
      statuses: [400, 403],
      words: /model\.accessdenied|accessdenied\.unpurchased|access to model denied|model access denied/,
      cause: "model",
      cools: "key",
      blames: "key",
      says: "AccessDenied.Unpurchased: Access to model denied. Please make sure you are eligible for using the model.",
      source: "https://github.com/QwenLM/qwen-code/issues/9605",
    },
    {
      statuses: [400, 404],
      words: /model_?not_?found|model .{0,120}does not exist|model not exist/,
      cause: "model",
      says: "model_not_found: The model `…` does not exist or you do not have access to it.",
      source: "https://help.aliyun.com/en/model-studio/error-code-start",
    },
    {
      statuses: [400],
      words: /data_?inspection|inappropriate content/,
      cause: "content",
      says: "data_inspection_failed: Input data may contain inappropriate content.",
      source: ERRORS,
    },
    {
      statuses: [429],
      words: /increased too quickly|limit_burst_rate|throttling\.burstrate/,
      cause: "burst",
      says: "limit_burst_rate: Request rate increased too quickly.",
      source: LIMITS,
    },
    {
      statuses: [429],
      words: /concurren/,
      cause: "burst",
      cools: "maxConcurrent",
      says: "concurrency allocated quota exceeded",
      source: "https://www.alibabacloud.com/help/en/model-studio/coding-plan-faq",
    },
    {
      statuses: [429],
      words: /(hour|week|month) allocated quota|per[ _-]?day|daily/,
      cause: "day",
      says: "month allocated quota exceeded",
      source: "https://www.alibabacloud.com/help/en/model-studio/coding-plan-faq",
    },
    {
      statuses: [429],
      words: /allocat(ed|ion)[ .]?quota|insufficient_quota|exceeded your current quota|token-limit/,
      cause: "tokens",
      says: "Throttling.AllocationQuota, insufficient_quota: Allocated quota exceeded; You exceeded your current quota.",
      source: LIMITS,
    },
    {
      statuses: [429],
      words: /requests rate limit exceeded|limit_requests|ratequota|current requests list|requests throttling/,
      cause: "rate_second",
      says: "Throttling.RateQuota, limit_requests: Requests rate limit exceeded, please try again later.",
      source: LIMITS,
    },
  ],
};
