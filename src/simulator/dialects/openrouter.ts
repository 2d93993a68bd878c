/** https://openrouter.ai/docs/api/reference/errors-and-debugging and …/limits: the code is the status, the rest is metadata. */
import type { Answer } from "../answers.ts";
import { type Full, type SpokenDialect, wholeSeconds } from "./dialect.ts";

const framed = (code: number, message: string, metadata?: object): Answer => ({
  status: code,
  body: { error: { message, code, ...(metadata && { metadata }) }, user_id: "user_simulated" },
});

function full({ kind, limit, freeInMs, tellsWait, nowMs }: Full): Answer {
  if (kind === "tokens" || kind === "burst" || kind === "concurrency") {
    // What is no limit of the router's own comes from the provider behind it.
    const seconds = wholeSeconds(freeInMs);
    return framed(429, "Provider returned error", {
      raw: "simulated-vision is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits: https://openrouter.ai/settings/integrations",
      provider_name: "Simulated",
      is_byok: false,
      ...(tellsWait && { retry_after_seconds: seconds, headers: { "Retry-After": String(seconds) } }),
    });
  }
  const name =
    kind === "day"
      ? "free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
      : "free-models-per-min.";
  const headers = {
    "X-RateLimit-Limit": String(limit),
    "X-RateLimit-Remaining": "0",
    ...(tellsWait && { "X-RateLimit-Reset": String(Math.ceil(nowMs + freeInMs)) }),
  };
  const answer = framed(429, `Rate limit exceeded: ${name}`, { headers, provider_name: null });
  return { ...answer, headers };
}

export const openrouter: SpokenDialect = {
  unfit: () => undefined,
  full,
  unknownKey: () => framed(401, "User not found."),
  arrears: () =>
    framed(
      402,
      "This request requires more credits, or fewer max_tokens. You requested up to 500 tokens, but can only afford 12. To increase, visit https://openrouter.ai/settings/credits and upgrade to a paid account",
      { provider_name: null },
    ),
  modelDenied: () => framed(404, "No endpoints found that support image input"),
  contentRefused: () =>
    framed(
      403,
      'simulated-vision requires moderation on OpenRouter. Your input was flagged for "violence". No credits were charged.',
      {
        reasons: ["violence"],
        flagged_input: "…",
        provider_name: "Simulated",
      },
    ),
  badRequest: (message, status) => framed(status, message),
  noSuchPath: () => framed(404, "Not Found"),
  serverError: (overloaded) =>
    overloaded
      ? framed(503, "There is no available model provider that meets your routing requirements")
      : framed(502, "Provider returned error", { raw: "internal error", provider_name: "Simulated" }),
};
