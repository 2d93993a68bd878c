/** https://help.aliyun.com/en/model-studio/error-code-start and …/rate-limit: no window is named, no wait is told unless asked for. */
import { openAiFrame, type SpokenDialect, wholeSeconds } from "./dialect.ts";

const framed = (status: number, code: string, message: string, type = code) => openAiFrame(status, code, message, type);

const FULL = {
  second: ["limit_requests", "Requests rate limit exceeded, please try again later."],
  minute: ["limit_requests", "Requests rate limit exceeded, please try again later."],
  day: ["limit_requests", "Requests per day limit exceeded, please try again tomorrow."],
  tokens: ["insufficient_quota", "Allocated quota exceeded, please increase your quota limit."],
  burst: [
    "limit_burst_rate",
    "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale requests more smoothly over time.",
  ],
  concurrency: ["Throttling.Concurrency", "Too many concurrent requests, please try again later."],
} as const;

export const dashscope: SpokenDialect = {
  // Its models that see pictures know JSON, but no schema of it (…/json-mode).
  unfit: ({ format }) =>
    format === "json_schema"
      ? "<400> InternalError.Algo.InvalidParameter: 'response_format' of type 'json_schema' is not supported by this model."
      : undefined,
  worked: (ms) => ({ "req-cost-time": ms.toFixed(0) }),
  full({ kind, tellsWait, freeInMs }) {
    const [code, message] = FULL[kind];
    const answer = framed(429, code, message);
    return tellsWait ? { ...answer, headers: { "retry-after": String(wholeSeconds(freeInMs)) } } : answer;
  },
  unknownKey: () => framed(401, "invalid_api_key", "Incorrect API key provided.", "invalid_request_error"),
  arrears: () => framed(400, "Arrearage", "Access denied, please make sure your account is in good standing."),
  modelDenied: () =>
    framed(
      403,
      "AccessDenied.Unpurchased",
      "Access to model denied. Please make sure you are eligible for using the model.",
    ),
  contentRefused: () => framed(400, "data_inspection_failed", "Input data may contain inappropriate content."),
  badRequest: (message, status) => framed(status, "invalid_parameter_error", message, "invalid_request_error"),
  noSuchPath: () => framed(404, "not_found", "There is nothing here."),
  serverError: (overloaded) =>
    overloaded
      ? framed(503, "ModelUnavailable", "Model is unavailable, please try again later.")
      : framed(500, "internal_error", "An internal error has occurred, please try again later."),
};
