/**
 * https://ai.google.dev/gemini-api/docs/troubleshooting and …/rate-limits, as the OpenAI-compatible endpoint frames it: a
 * list of one error. The window stands in the quota's id; a delay is named even where the day is used up.
 */
import type { Answer } from "../answers.ts";
import { type Full, type SpokenDialect, wholeSeconds } from "./dialect.ts";

const framed = (code: number, status: string, message: string, details: object[] = []): Answer => ({
  status: code,
  body: [{ error: { code, message, status, ...(details.length > 0 && { details }) } }],
});

const QUOTA_IDS = {
  second: "GenerateRequestsPerMinutePerProjectPerModel",
  minute: "GenerateRequestsPerMinutePerProjectPerModel",
  burst: "GenerateRequestsPerMinutePerProjectPerModel",
  concurrency: "GenerateRequestsPerMinutePerProjectPerModel",
  day: "GenerateRequestsPerDayPerProjectPerModel",
  tokens: "GenerateContentInputTokensPerModelPerMinute",
} as const;

function quotaFull({ kind, limit, freeInMs, tellsWait }: Full): Answer {
  // A day's refusal carries a delay of seconds like any other.
  const seconds = kind === "day" ? 28.926488533 : Math.max(0.001, freeInMs / 1_000);
  const metric = kind === "tokens" ? "generate_content_input_token_count" : "generate_content_requests";
  const wait = tellsWait ? `\nPlease retry in ${seconds}s.` : "";
  const message =
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n" +
    `* Quota exceeded for metric: generativelanguage.googleapis.com/${metric}, limit: ${limit}, model: simulated-vision${wait}`;
  return framed(429, "RESOURCE_EXHAUSTED", message, [
    {
      "@type": "type.googleapis.com/google.rpc.QuotaFailure",
      violations: [
        {
          quotaMetric: `generativelanguage.googleapis.com/${metric}`,
          quotaId: QUOTA_IDS[kind],
          quotaDimensions: { location: "global", model: "simulated-vision" },
          quotaValue: String(limit),
        },
      ],
    },
    ...(tellsWait
      ? [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: `${wholeSeconds(seconds * 1_000)}s` }]
      : []),
  ]);
}

export const gemini: SpokenDialect = {
  unfit: () => undefined,
  worked: (ms) => ({ "server-timing": `gfet4t7; dur=${ms.toFixed(0)}` }),
  full: quotaFull,
  unknownKey: () =>
    framed(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [
      { "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "API_KEY_INVALID", domain: "googleapis.com" },
    ]),
  arrears: () =>
    framed(
      429,
      "RESOURCE_EXHAUSTED",
      "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to manage your project spend cap.",
    ),
  modelDenied: (model) =>
    framed(
      404,
      "NOT_FOUND",
      `models/${model} is not found for API version v1main, or is not supported for generateContent.`,
    ),
  contentRefused: () => framed(400, "INVALID_ARGUMENT", "The request was blocked: PROHIBITED_CONTENT"),
  badRequest: (message, status) => framed(status, "INVALID_ARGUMENT", message),
  noSuchPath: () => framed(404, "NOT_FOUND", "Requested entity was not found."),
  serverError: (overloaded) =>
    overloaded
      ? framed(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
      : framed(500, "INTERNAL", "An internal error has occurred. Please retry or report."),
};
