import { describe, expect, test } from "vitest";
import { ERRORS } from "../../src/errors.ts";
import { Refusal, type RefusedAnswer, sortRefusal, withoutSecrets } from "../../src/processors/refusal.ts";

const nowMs = Date.UTC(2026, 10, 23, 12);
const sort = (answer: Partial<RefusedAnswer>) => sortRefusal({ status: 429, text: "", headers: {}, nowMs, ...answer });

describe("the cause", () => {
  test.each<[string, number, string, string, string, string]>([
    [
      "DashScope, requests",
      429,
      "limit_requests",
      "Requests rate limit exceeded, please try again later.",
      "rate_second",
      "RATE_LIMITED",
    ],
    [
      "DashScope, native code",
      429,
      "Throttling.RateQuota",
      "Requests rate limit exceeded",
      "rate_second",
      "RATE_LIMITED",
    ],
    [
      "DashScope, tokens",
      429,
      "Throttling.AllocationQuota",
      "Allocated quota exceeded, please increase your quota limit.",
      "tokens",
      "RATE_LIMITED",
    ],
    [
      "DashScope, tokens by another code",
      429,
      "insufficient_quota",
      "You exceeded your current quota, please check your plan and billing details. For details, see: https://help.aliyun.com/zh/model-studio/error-code#token-limit",
      "tokens",
      "RATE_LIMITED",
    ],
    [
      "DashScope, burst",
      429,
      "limit_burst_rate",
      "Request rate increased too quickly. To ensure system stability, please adjust your client logic",
      "burst",
      "RATE_LIMITED",
    ],
    [
      "DashScope, unpaid",
      400,
      "Arrearage",
      "Access denied, please make sure your account is in good standing.",
      "balance",
      "QUOTA_EXHAUSTED",
    ],
    [
      "DashScope, free tier used up",
      403,
      "AllocationQuota.FreeTierOnly",
      "The free tier of the model has been exhausted.",
      "balance",
      "QUOTA_EXHAUSTED",
    ],
    ["DashScope, key", 401, "invalid_api_key", "Incorrect API key provided.", "key", "KEY_REJECTED"],
    [
      "DashScope, content",
      400,
      "data_inspection_failed",
      "Input data may contain inappropriate content.",
      "content",
      "CONTENT_REFUSED",
    ],
    [
      "DashScope, bad image",
      400,
      "invalid_parameter_error",
      "The image format is illegal and cannot be opened.",
      "request",
      "REQUEST_REFUSED",
    ],
    [
      "OpenAI, a minute",
      429,
      "rate_limit_exceeded",
      "Rate limit reached for gpt in organization org-x on requests per min (RPM): Limit 500, Used 500, Requested 1.",
      "rate_minute",
      "RATE_LIMITED",
    ],
    [
      "OpenAI, tokens",
      429,
      "rate_limit_exceeded",
      "Rate limit reached for gpt in organization org-x on tokens per min (TPM): Limit 30000",
      "tokens",
      "RATE_LIMITED",
    ],
    [
      "OpenAI, a day",
      429,
      "rate_limit_exceeded",
      "Rate limit reached for gpt on requests per day (RPD): Limit 200",
      "day",
      "QUOTA_EXHAUSTED",
    ],
    [
      "OpenAI, unpaid",
      429,
      "insufficient_quota",
      "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
      "balance",
      "QUOTA_EXHAUSTED",
    ],
    [
      "OpenAI, content",
      400,
      "content_policy_violation",
      "Your request was rejected as a result of our safety system.",
      "content",
      "CONTENT_REFUSED",
    ],
    [
      "Gemini, a minute",
      429,
      "429",
      "Quota exceeded for quota metric 'Generate Content API requests per minute'",
      "rate_minute",
      "RATE_LIMITED",
    ],
    ["Gemini, key with 400", 400, "400", "API key not valid. Please pass a valid API key.", "key", "KEY_REJECTED"],
    ["too many at once", 429, "Throttling.Concurrency", "Too many concurrent requests", "burst", "RATE_LIMITED"],
    ["a bare 402", 402, "", "Payment Required", "balance", "QUOTA_EXHAUSTED"],
    ["a bare 403", 403, "", "Forbidden", "key", "KEY_REJECTED"],
    ["a bare 408", 408, "", "", "timeout", "CALL_TIMED_OUT"],
    ["a bare 500", 500, "", "", "server", "PROVIDER_FAILED"],
    ["overloaded", 529, "overloaded_error", "Overloaded", "server", "PROVIDER_FAILED"],
    ["a gateway's time-out", 504, "", "", "timeout", "CALL_TIMED_OUT"],
    ["too large", 413, "", "Exceeded limit on max bytes", "request", "REQUEST_REFUSED"],
  ])("%s", (_, status, code, text, cause, errorCode) => {
    expect(sort({ status, code, text })).toMatchObject({ cause, code: errorCode });
  });

  test("no answer at all is the network", () => {
    expect(sort({ status: undefined })).toMatchObject({
      cause: "network",
      code: "PROVIDER_UNREACHABLE",
      retry: "elsewhere",
    });
  });

  test("a wordless 429 that asks for a long wait is no per-second limit", () => {
    expect(sort({ headers: { "retry-after": "40" } }).cause).toBe("rate_minute");
    expect(sort({ headers: { "retry-after": "1" } }).cause).toBe("rate_second");
  });
});

describe("how long to stay away", () => {
  test.each<[Record<string, string>, number]>([
    [{ "retry-after": "7" }, 7_000],
    [{ "retry-after": "0.5" }, 500],
    [{ "retry-after": "Mon, 23 Nov 2026 12:00:09 GMT" }, 9_000],
    [{ "retry-after": "Mon, 23 Nov 2026 11:00:00 GMT" }, 0],
    [{ "retry-after-ms": "250", "retry-after": "9" }, 250],
    [{ "x-ratelimit-reset-requests": "120ms" }, 120],
    [{ "x-ratelimit-reset-requests": "6m0s" }, 360_000],
    [{ "x-ratelimit-reset-requests": "1.5s", "x-ratelimit-remaining-requests": "0" }, 1_500],
    [
      { "x-ratelimit-reset-requests": "8s", "x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-tokens": "2s" },
      2_000,
    ],
    [{ "x-ratelimit-reset": String(nowMs / 1_000 + 5) }, 5_000],
    [{ "x-ratelimit-reset": "2026-11-23T12:00:04Z" }, 4_000],
    [{ "retry-after": "9999999" }, 24 * 3_600_000],
  ])("%j: %d ms, as told", (headers, coolMs) => {
    expect(sort({ text: "Requests rate limit exceeded", headers })).toMatchObject({ coolMs, told: true });
  });

  test.each([[{}], [{ "retry-after": "soon" }], [{ "retry-after": "-5" }], [{ "x-ratelimit-reset-requests": "" }]])(
    "%j tells nothing: the table's own",
    (headers) =>
      expect(sort({ text: "Requests rate limit exceeded", headers })).toMatchObject({ coolMs: 1_000, told: false }),
  );

  test("the task's own faults cool nobody, whatever the headers", () => {
    expect(sort({ status: 400, code: "data_inspection_failed", headers: { "retry-after": "60" } }).coolMs).toBe(0);
  });

  test("quota headers of an answer that was no quota refusal say nothing about waiting", () => {
    expect(sort({ status: 500, headers: { "x-ratelimit-reset-requests": "60s" } }).coolMs).toBe(1_000);
  });

  test("503 with Retry-After is believed", () => {
    expect(sort({ status: 503, headers: { "retry-after": "20" } })).toMatchObject({ cause: "server", coolMs: 20_000 });
  });
});

test("who is to blame is the table's word, except for a model that is not there", () => {
  expect(sort({ status: 401 })).toMatchObject({ blames: "key", retry: "elsewhere" });
  expect(sort({ status: 400, code: "data_inspection_failed" })).toMatchObject({ blames: "task", retry: "never" });
  expect(ERRORS.REQUEST_REFUSED.blames).toBe("task");
  expect(sort({ status: 404, text: "The model does not exist" })).toMatchObject({
    cause: "model",
    code: "MODEL_REFUSED",
    blames: "group",
    retry: "elsewhere",
    coolMs: 3_000,
  });
});

test("a Refusal is a VigilaneError whose record may differ from the row", () => {
  const refusal = new Refusal({ ...sort({ status: 408 }), blames: "nobody" }, "late", 408);
  expect(refusal).toMatchObject({ code: "CALL_TIMED_OUT", blames: "nobody", retry: "elsewhere", status: 408 });
});

test("no secret survives", () => {
  const said =
    "401 Incorrect API key provided: sk-abc***wxyz. Header: Bearer topsecret-1234 and key hush, see api-1234567";
  const clean = withoutSecrets(said, "hush");
  for (const secret of ["sk-abc", "wxyz", "topsecret", "hush", "1234567"]) expect(clean).not.toContain(secret);
  expect(clean).toContain("Incorrect API key provided");
  expect(withoutSecrets("x".repeat(1_000))).toHaveLength(300);
});
