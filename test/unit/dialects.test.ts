/** Real answers of each provider, as documented or seen (the rules name their sources), and what they mean. */
import { describe, expect, test } from "vitest";
import { nextMidnightMs } from "../../src/processors/dialects/day-end.ts";
import type { RefusedAnswer } from "../../src/processors/dialects/dialect.ts";
import { DIALECTS, type DialectName, decidingRule, dialectName } from "../../src/processors/dialects/registry.ts";
import { type SortedRefusal, sortRefusal } from "../../src/processors/refusal.ts";

/** Noon UTC, four in the morning Pacific time. */
const nowMs = Date.UTC(2026, 10, 23, 12);
const HOUR_MS = 3_600_000;

type Row = [what: string, answer: Partial<RefusedAnswer>, means: Partial<SortedRefusal>];

const DASHSCOPE: Row[] = [
  [
    "requests, of which it does not say whether of a second or a minute",
    { status: 429, code: "limit_requests", text: "Requests rate limit exceeded, please try again later." },
    { cause: "rate_second", cools: "requestsPerSecond", coolMs: 1_000, told: false, blames: "nobody" },
  ],
  [
    "requests, by the native code",
    { status: 429, code: "Throttling.RateQuota", text: "Requests rate limit exceeded" },
    { cause: "rate_second", code: "RATE_LIMITED" },
  ],
  [
    "requests, in older words",
    { status: 429, code: "Throttling", text: "You exceeded your current requests list" },
    { cause: "rate_second" },
  ],
  [
    "burst",
    {
      status: 429,
      code: "limit_burst_rate",
      text: "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale requests more smoothly over time.",
    },
    { cause: "burst", cools: "group", coolMs: 2_000 },
  ],
  [
    "too many at once",
    { status: 429, code: "Throttling.AllocationQuota", text: "concurrency allocated quota exceeded" },
    { cause: "burst", cools: "maxConcurrent" },
  ],
  [
    "tokens",
    {
      status: 429,
      code: "Throttling.AllocationQuota",
      text: "Allocated quota exceeded, please increase your quota limit.",
    },
    { cause: "tokens", cools: "tokensPerMinute", coolMs: 10_000 },
  ],
  [
    "tokens, in the words with which OpenAI means money",
    {
      status: 429,
      code: "insufficient_quota",
      text: "You exceeded your current quota, please check your plan and billing details. For details, see: https://help.aliyun.com/zh/model-studio/error-code#token-limit",
    },
    { cause: "tokens" },
  ],
  [
    "a plan's month",
    { status: 429, code: "Throttling.AllocationQuota", text: "month allocated quota exceeded." },
    { cause: "day", cools: "requestsPerDay", code: "QUOTA_EXHAUSTED", blames: "group" },
  ],
  [
    "not paid",
    {
      status: 400,
      code: "Arrearage",
      text: "Access denied, please make sure your account is in good standing.",
    },
    { cause: "balance", cools: "group", code: "QUOTA_EXHAUSTED", retry: "elsewhere" },
  ],
  [
    "free tier used up",
    {
      status: 403,
      code: "AllocationQuota.FreeTierOnly",
      text: "The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, please disable the use free tier only mode in the management console.",
    },
    { cause: "balance" },
  ],
  [
    "key",
    {
      status: 401,
      code: "invalid_api_key",
      type: "invalid_request_error",
      text: "Incorrect API key provided.",
    },
    { cause: "key", cools: "key", blames: "key", coolMs: 3_000 },
  ],
  [
    "key, by the native code",
    { status: 401, code: "InvalidApiKey", text: "Invalid API-key provided." },
    { cause: "key" },
  ],
  [
    "model not bought",
    {
      status: 403,
      code: "AccessDenied.Unpurchased",
      text: "Access to model denied. Please make sure you are eligible for using the model.",
    },
    { cause: "model", cools: "key", blames: "key", code: "MODEL_REFUSED", retry: "elsewhere" },
  ],
  [
    "model not there",
    {
      status: 404,
      code: "model_not_found",
      text: "The model `Qwen-Plus` does not exist or you do not have access to it.",
    },
    { cause: "model", cools: "group", blames: "group", coolMs: 3_000 },
  ],
  [
    "content",
    { status: 400, code: "data_inspection_failed", text: "Input data may contain inappropriate content." },
    { cause: "content", cools: "nothing", coolMs: 0, blames: "task", retry: "never" },
  ],
  [
    "content, native",
    { status: 400, code: "DataInspectionFailed", text: "Output data may contain inappropriate content." },
    { cause: "content" },
  ],
  [
    "bad image",
    { status: 400, code: "invalid_parameter_error", text: "The image format is illegal and cannot be opened." },
    { cause: "request", cools: "nothing", blames: "task", retry: "never" },
  ],
  [
    "server",
    { status: 500, code: "internal_error", text: "An internal error has occured, please try again later" },
    { cause: "server", cools: "group", blames: "group", coolMs: 1_000 },
  ],
  [
    "server, no room",
    { status: 503, code: "ModelUnavailable", text: "Model is unavailable, please try again later." },
    { cause: "server" },
  ],
  [
    "time-out",
    { status: 504, code: "RequestTimeOut", text: "Request timed out, please try again later." },
    { cause: "timeout" },
  ],
];

const OPENAI: Row[] = [
  [
    "requests of a minute, with the wait in the text and a longer reset in the headers",
    {
      status: 429,
      code: "rate_limit_exceeded",
      type: "requests",
      text: "Rate limit reached for gpt-4o-mini in organization org-x on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s. Visit https://platform.openai.com/account/rate-limits to learn more.",
      headers: { "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "59.9s" },
    },
    { cause: "rate_minute", cools: "requestsPerMinute", coolMs: 20_000, told: true },
  ],
  [
    "requests of a second",
    {
      status: 429,
      code: "rate_limit_exceeded",
      text: "Rate limit reached for gpt-4o-mini on requests per second (RPS): Limit 1. Please try again in 320ms.",
    },
    { cause: "rate_second", coolMs: 320, told: true },
  ],
  [
    "tokens, with Retry-After in ms",
    {
      status: 429,
      code: "rate_limit_exceeded",
      type: "tokens",
      text: "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29500, Requested 1200. Please try again in 1.4s.",
      headers: { "retry-after-ms": "1400", "retry-after": "2" },
    },
    { cause: "tokens", cools: "tokensPerMinute", coolMs: 1_400, told: true },
  ],
  [
    "a request that no minute can hold",
    {
      status: 429,
      code: "rate_limit_exceeded",
      type: "tokens",
      text: "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000.",
    },
    { cause: "request", cools: "nothing", coolMs: 0, blames: "task", retry: "elsewhere" },
  ],
  [
    "requests of a day, a bucket that refills all the time",
    {
      status: 429,
      code: "rate_limit_exceeded",
      text: "Rate limit reached for gpt-4o on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s.",
    },
    { cause: "day", cools: "requestsPerDay", coolMs: 432_000, told: true },
  ],
  [
    "tokens of a day",
    {
      status: 429,
      code: "rate_limit_exceeded",
      text: "Rate limit reached for gpt-4o on tokens per day (TPD): Limit 90000",
    },
    { cause: "day", cools: "tokensPerDay", coolMs: 3_000, told: false },
  ],
  [
    "no money left",
    {
      status: 429,
      code: "insufficient_quota",
      type: "insufficient_quota",
      text: "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
    },
    { cause: "balance", cools: "group", code: "QUOTA_EXHAUSTED", coolMs: 3_000 },
  ],
  [
    "account not active",
    {
      status: 429,
      code: "billing_not_active",
      type: "billing_not_active",
      text: "Your account is not active, please check your billing details on our website.",
    },
    { cause: "balance" },
  ],
  [
    "key",
    {
      status: 401,
      code: "invalid_api_key",
      type: "invalid_request_error",
      text: "Incorrect API key provided: sk-abc. You can find your API key at https://platform.openai.com/account/api-keys.",
    },
    { cause: "key", cools: "key" },
  ],
  [
    "model not for this project",
    {
      status: 403,
      code: "model_not_found",
      type: "invalid_request_error",
      text: "Project `proj_x` does not have access to model `gpt-4o-mini`",
    },
    { cause: "model", cools: "key", blames: "key" },
  ],
  [
    "model not there",
    {
      status: 404,
      code: "model_not_found",
      type: "invalid_request_error",
      text: "The model `gpt-9` does not exist or you do not have access to it.",
    },
    { cause: "model", cools: "group", blames: "group" },
  ],
  [
    "country",
    {
      status: 403,
      code: "unsupported_country_region_territory",
      type: "request_forbidden",
      text: "Country, region, or territory not supported",
    },
    { cause: "key", cools: "group", blames: "group" },
  ],
  [
    "content",
    {
      status: 400,
      code: "content_policy_violation",
      text: "Your request was rejected as a result of our safety system.",
    },
    { cause: "content", retry: "never" },
  ],
  [
    "bad image",
    { status: 400, code: "invalid_image_format", text: "You uploaded an unsupported image." },
    { cause: "request", blames: "task" },
  ],
  [
    "server",
    { status: 500, type: "server_error", text: "The server had an error while processing your request." },
    { cause: "server" },
  ],
  [
    "overloaded",
    { status: 503, text: "The engine is currently overloaded, please try again later" },
    { cause: "server" },
  ],
  ["slow down", { status: 503, code: "slow_down", text: "Slow Down" }, { cause: "burst", cools: "group" }],
];

const violations = (...quotaIds: string[]) =>
  JSON.stringify({
    details: [
      { "@type": "type.googleapis.com/google.rpc.QuotaFailure", violations: quotaIds.map((quotaId) => ({ quotaId })) },
    ],
  });
const QUOTA_TEXT =
  "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";

const GEMINI: Row[] = [
  [
    "requests of a minute, delay in the details",
    {
      status: 429,
      code: "429",
      type: "RESOURCE_EXHAUSTED",
      text: QUOTA_TEXT,
      details: violations("GenerateRequestsPerMinutePerProjectPerModel-FreeTier").replace(
        "]}",
        ',{"retryDelay":"34s"}]}',
      ),
    },
    { cause: "rate_minute", cools: "requestsPerMinute", coolMs: 34_000, told: true },
  ],
  [
    "requests of a minute, delay in the text",
    {
      status: 429,
      type: "RESOURCE_EXHAUSTED",
      text: `${QUOTA_TEXT} * Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_requests_per_minute, limit: 60\nPlease retry in 11.5s.`,
    },
    { cause: "rate_minute", coolMs: 11_500, told: true },
  ],
  [
    "tokens",
    {
      status: 429,
      type: "RESOURCE_EXHAUSTED",
      text: QUOTA_TEXT,
      details: violations("GenerateContentInputTokensPerModelPerMinute-FreeTier"),
    },
    { cause: "tokens", cools: "tokensPerMinute", coolMs: 10_000, told: false },
  ],
  [
    "the day, whose delay is that of a minute: until midnight Pacific time",
    {
      status: 429,
      type: "RESOURCE_EXHAUSTED",
      text: `${QUOTA_TEXT} * Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 20, model: gemini-2.5-flash\nPlease retry in 28.926488533s.`,
      details: violations("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
    },
    { cause: "day", cools: "requestsPerDay", coolMs: 20 * HOUR_MS, told: true, blames: "group" },
  ],
  [
    "the day, with a delay that means it",
    {
      status: 429,
      type: "RESOURCE_EXHAUSTED",
      text: `${QUOTA_TEXT} * Quota exceeded for metric: generativelanguage.googleapis.com/generate_requests_per_model_per_day, limit: 250\nPlease retry in 10h50m43.651927829s.`,
    },
    { cause: "day", coolMs: expect.closeTo(39_043_652, 0) as unknown as number, told: true },
  ],
  [
    "tokens of the day",
    {
      status: 429,
      type: "RESOURCE_EXHAUSTED",
      text: QUOTA_TEXT,
      details: violations("GenerateContentInputTokensPerModelPerDay-FreeTier"),
    },
    { cause: "day", cools: "tokensPerDay" },
  ],
  [
    "no quota at all in this plan",
    {
      status: 429,
      type: "RESOURCE_EXHAUSTED",
      text: `${QUOTA_TEXT} * Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 0, model: gemini-2.5-pro`,
      details: violations("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
    },
    { cause: "model", code: "MODEL_REFUSED" },
  ],
  [
    "spending cap",
    {
      status: 429,
      type: "RESOURCE_EXHAUSTED",
      text: "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to manage your project spend cap.",
    },
    { cause: "balance", cools: "group" },
  ],
  [
    "key, with 400",
    {
      status: 400,
      code: "400",
      type: "INVALID_ARGUMENT",
      text: "API key not valid. Please pass a valid API key.",
      details: '{"details":[{"reason":"API_KEY_INVALID","domain":"googleapis.com"}]}',
    },
    { cause: "key", cools: "key", blames: "key" },
  ],
  [
    "key without permission",
    { status: 403, type: "PERMISSION_DENIED", text: "Your API key doesn't have the required permissions." },
    { cause: "key" },
  ],
  [
    "region without a free tier",
    {
      status: 400,
      type: "FAILED_PRECONDITION",
      text: "Gemini API free tier is not available in your country. Please enable billing on your project in Google AI Studio.",
    },
    { cause: "balance" },
  ],
  [
    "model not there",
    { status: 404, type: "NOT_FOUND", text: "models/gemini-9 is not found for API version v1main" },
    { cause: "model", cools: "group" },
  ],
  [
    "content",
    { status: 400, type: "INVALID_ARGUMENT", text: "The request was blocked: PROHIBITED_CONTENT" },
    { cause: "content" },
  ],
  [
    "bad request",
    { status: 400, type: "INVALID_ARGUMENT", text: "Unable to process input image." },
    { cause: "request" },
  ],
  [
    "overloaded",
    { status: 503, type: "UNAVAILABLE", text: "The model is overloaded. Please try again later." },
    { cause: "server" },
  ],
  [
    "time-out",
    { status: 504, type: "DEADLINE_EXCEEDED", text: "Deadline expired before operation could complete." },
    { cause: "timeout" },
  ],
];

const OPENROUTER: Row[] = [
  [
    "a free model's minute",
    {
      status: 429,
      code: "429",
      text: "Rate limit exceeded: free-models-per-min.",
      details: `{"metadata":{"headers":{"X-RateLimit-Limit":"20","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"${nowMs + 23_000}"}}}`,
    },
    { cause: "rate_minute", cools: "requestsPerMinute", coolMs: 23_000, told: true },
  ],
  [
    "a free model's day",
    {
      status: 429,
      code: "429",
      text: "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
      details: '{"metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0"}}}',
    },
    { cause: "day", coolMs: 12 * HOUR_MS, told: true },
  ],
  [
    "the provider behind it has no room in the pool that all share",
    {
      status: 429,
      code: "429",
      text: "Provider returned error",
      details:
        '{"metadata":{"raw":"meta-llama/llama-3.3-70b-instruct:free is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits: https://openrouter.ai/settings/integrations","provider_name":"Venice","retry_after_seconds":29}}',
    },
    { cause: "server", code: "PROVIDER_FAILED", cools: "group", coolMs: 29_000, told: true },
  ],
  [
    "no credits",
    {
      status: 402,
      code: "402",
      text: "This request requires more credits, or fewer max_tokens. You requested up to 64000 tokens, but can only afford 2666.",
    },
    { cause: "balance", cools: "group" },
  ],
  [
    "the key's own limit",
    { status: 403, code: "403", text: "Key limit exceeded (daily limit)." },
    { cause: "balance", cools: "key", blames: "key" },
  ],
  [
    "content",
    {
      status: 403,
      code: "403",
      text: 'openai/gpt-5 requires moderation on OpenRouter. Your input was flagged for "violence". No credits were charged.',
    },
    { cause: "content", blames: "task", retry: "never" },
  ],
  ["key", { status: 401, code: "401", text: "No auth credentials found" }, { cause: "key", cools: "key" }],
  [
    "model cannot see",
    { status: 404, code: "404", text: "No endpoints found that support image input" },
    { cause: "model", cools: "group" },
  ],
  [
    "model not there",
    { status: 400, code: "400", text: "foo/bar is not a valid model ID" },
    { cause: "model", retry: "elsewhere" },
  ],
  ["bad request", { status: 400, code: "400", text: "Input must have at least 1 token." }, { cause: "request" }],
  ["model down", { status: 502, code: "502", text: "Provider returned error" }, { cause: "server" }],
  [
    "nobody to ask",
    { status: 503, code: "503", text: "There is no available model provider that meets your routing requirements" },
    { cause: "server" },
  ],
  ["time-out", { status: 408, code: "408", text: "Your request timed out" }, { cause: "timeout" }],
];

const VLLM: Row[] = [
  ["key", { status: 401, text: "Unauthorized" }, { cause: "key" }],
  [
    "vLLM, model not served",
    { status: 404, code: "404", type: "NotFoundError", text: "The model `Qwen-14B` does not exist." },
    { cause: "model", cools: "group", coolMs: 3_000 },
  ],
  [
    "Ollama, model not pulled",
    { status: 404, type: "api_error", text: 'model "llava" not found, try pulling it first' },
    { cause: "model" },
  ],
  [
    "a model that cannot see",
    { status: 400, type: "BadRequestError", text: "Qwen/Qwen3-8B is not a multimodal model" },
    { cause: "model", retry: "elsewhere" },
  ],
  [
    "too long",
    {
      status: 400,
      type: "BadRequestError",
      text: "This model's maximum context length is 2048 tokens. However, you requested 2500 tokens.",
    },
    { cause: "request", blames: "task" },
  ],
  [
    "Ollama's queue is full",
    { status: 503, text: "server busy, please try again.  maximum pending requests exceeded" },
    { cause: "burst", cools: "maxConcurrent", coolMs: 2_000 },
  ],
  [
    "engine died",
    { status: 500, type: "InternalServerError", text: "EngineCore encountered an issue." },
    { cause: "server" },
  ],
];

const GENERIC: Row[] = [
  ["a bare 429", { status: 429 }, { cause: "rate_second" }],
  [
    "a bare 429 that sends away for long",
    { status: 429, headers: { "retry-after": "40" } },
    { cause: "rate_minute", coolMs: 40_000, told: true },
  ],
  ["not paid", { status: 400, code: "Arrearage", text: "overdue" }, { cause: "balance" }],
  ["free tier used up", { status: 403, text: "The free tier of the model has been exhausted." }, { cause: "balance" }],
  ["key", { status: 401, code: "invalid_api_key", text: "Incorrect API key provided." }, { cause: "key" }],
  ["model", { status: 403, text: "team not allowed to access model" }, { cause: "model", cools: "key" }],
  ["path", { status: 404, text: "Not Found" }, { cause: "model", cools: "group" }],
  ["content", { status: 400, code: "content_filter", text: "" }, { cause: "content" }],
  ["too many at once", { status: 429, text: "Too many concurrent requests" }, { cause: "burst" }],
  ["day", { status: 429, text: "requests per day" }, { cause: "day", coolMs: 3_000, told: false }],
  ["second", { status: 429, text: "QPS limit" }, { cause: "rate_second" }],
  ["tokens", { status: 429, text: "tokens per minute" }, { cause: "tokens" }],
  ["minute", { status: 429, text: "requests per minute" }, { cause: "rate_minute" }],
  ["no money", { status: 429, text: "insufficient balance" }, { cause: "balance" }],
  ["quota, of which nobody says which", { status: 429, code: "insufficient_quota" }, { cause: "tokens" }],
  ["a bare 402", { status: 402 }, { cause: "balance" }],
  ["a bare 403", { status: 403 }, { cause: "key" }],
  ["a bare 408", { status: 408 }, { cause: "timeout" }],
  ["a bare 413", { status: 413 }, { cause: "request" }],
  ["a bare 500", { status: 500 }, { cause: "server" }],
  ["no answer", { status: undefined }, { cause: "network", cools: "group" }],
];

const ROWS: Record<DialectName, Row[]> = {
  dashscope: DASHSCOPE,
  openai: OPENAI,
  gemini: GEMINI,
  openrouter: OPENROUTER,
  vllm: VLLM,
  generic: GENERIC,
};
const answerOf = (answer: Partial<RefusedAnswer>): RefusedAnswer => ({
  status: undefined,
  text: "",
  headers: {},
  nowMs,
  ...answer,
});

describe.each(Object.entries(ROWS))("%s says", (provider, rows) => {
  test.each(rows)("%s", (_, answer, means) => {
    expect(sortRefusal(answerOf(answer), provider)).toMatchObject(means);
  });

  test("every rule of it decides some row, so that none is dead or hidden behind another", () => {
    const deciding = new Set(rows.map(([, answer]) => decidingRule(answerOf(answer), provider)));
    const idle = DIALECTS[provider as DialectName].rules.filter((rule) => !deciding.has(rule));
    expect(idle.map(({ says }) => says)).toEqual([]);
  });
});

test("who speaks what: any other name speaks the generic dialect", () => {
  expect(["dashscope", "qwen", "ollama", "simulated", "custom", "", "constructor"].map(dialectName)).toEqual([
    "dashscope",
    "dashscope",
    "vllm",
    "generic",
    "generic",
    "generic",
    "generic",
  ]);
});

test("what no rule of a provider knows is tried by the generic ones", () => {
  const answer = answerOf({ status: 429, text: "requests per minute" });
  expect(sortRefusal(answer, "vllm")).toMatchObject({ cause: "rate_minute" });
});

describe("a day ends", () => {
  test.each<[string, string, string, number]>([
    ["in winter", "2026-11-23T12:00:00.250Z", "America/Los_Angeles", Date.UTC(2026, 10, 24, 8)],
    ["in summer", "2026-07-01T23:59:59Z", "America/Los_Angeles", Date.UTC(2026, 6, 2, 7)],
    ["just after midnight", "2026-07-01T07:00:00Z", "America/Los_Angeles", Date.UTC(2026, 6, 2, 7)],
    ["on the day of 25 hours", "2026-11-01T07:30:00Z", "America/Los_Angeles", Date.UTC(2026, 10, 2, 8)],
    ["on the day of 23 hours", "2027-03-14T08:30:00Z", "America/Los_Angeles", Date.UTC(2027, 2, 15, 7)],
    ["in UTC", "2026-11-23T12:00:00Z", "UTC", Date.UTC(2026, 10, 24)],
  ])("%s", (_, now, zone, ends) => {
    expect(nextMidnightMs(Date.parse(now), zone)).toBe(ends);
  });
});
