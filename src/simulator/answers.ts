/** What the simulated provider says, in the words of real ones. Pure. */

import type { Judgement } from "./judge.ts";
import type { Random } from "./latency.ts";
import type { SimulatorConfig } from "./simulator-config.ts";
import type { WindowLimit } from "./sliding-windows.ts";

export const MODEL = "simulated-vision";

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body: unknown;
}

const errorAnswer = (status: number, code: string, message: string, type = code): Answer => ({
  status,
  body: { error: { message, type, param: null, code } },
});

export const unknownKey = () =>
  errorAnswer(401, "invalid_api_key", "Incorrect API key provided.", "invalid_request_error");
export const arrears = () =>
  errorAnswer(400, "Arrearage", "Access denied, please make sure your account is in good standing.");
export const badRequest = (message: string, status = 400) =>
  errorAnswer(status, "invalid_parameter_error", message, "invalid_request_error");
export const noSuchPath = () => errorAnswer(404, "not_found", "There is nothing here.");
export const contentRefused = () =>
  errorAnswer(400, "data_inspection_failed", "Input data may contain inappropriate content.");
export const serverError = (random: Random) =>
  random() < 0.5
    ? errorAnswer(500, "internal_error", "An internal error has occurred, please try again later.")
    : errorAnswer(503, "ModelUnavailable", "Model is unavailable, please try again later.");
export const forced = (status: number) =>
  errorAnswer(status, "simulated_fault", `Fault set at the simulator: ${status}.`);
export const tooManyAtOnce = () =>
  errorAnswer(429, "Throttling.Concurrency", "Too many concurrent requests, please try again later.");

/** A window is full. DashScope does not say which one; OpenAI does. */
export function windowFull(window: WindowLimit, freeInMs: number, config: SimulatorConfig): Answer {
  const answer = config.dialect === "openai" ? openAiWindowFull(window, freeInMs) : dashScopeWindowFull(window);
  if (!config.retryAfter) return answer;
  const headers: Record<string, string> = { "retry-after": String(Math.ceil(freeInMs / 1_000)) };
  if (config.dialect === "openai") {
    headers["x-ratelimit-limit-requests"] = String(window.limit);
    headers["x-ratelimit-remaining-requests"] = "0";
    headers["x-ratelimit-reset-requests"] = `${Math.ceil(freeInMs)}ms`;
  }
  return { ...answer, headers };
}

function dashScopeWindowFull({ windowMs }: WindowLimit): Answer {
  return windowMs >= 86_400_000
    ? errorAnswer(429, "limit_requests", "Requests per day limit exceeded, please try again tomorrow.")
    : errorAnswer(429, "limit_requests", "Requests rate limit exceeded, please try again later.");
}

function openAiWindowFull({ windowMs, limit }: WindowLimit, freeInMs: number): Answer {
  const unit = windowMs >= 86_400_000 ? "day (RPD)" : windowMs >= 60_000 ? "min (RPM)" : "second (RPS)";
  const message =
    `Rate limit reached for ${MODEL} in organization simulated on requests per ${unit}: Limit ${limit}, ` +
    `Used ${limit}, Requested 1. Please try again in ${Math.ceil(freeInMs)}ms.`;
  return errorAnswer(429, "rate_limit_exceeded", message, "requests");
}

export interface Asked {
  /** All text of the messages. */
  text: string;
  images: readonly { width: number; height: number }[];
}

/** A chat completion that marks itself as simulated, with the tokens that a Qwen3-VL model would count. */
export function completion(id: string, createdAtMs: number, asked: Asked, content: string): Answer {
  const prompt = textTokens(asked.text) + asked.images.reduce((sum, image) => sum + imageTokens(image), 0);
  const completionTokens = textTokens(content);
  return {
    status: 200,
    body: {
      id,
      object: "chat.completion",
      created: Math.floor(createdAtMs / 1_000),
      model: MODEL,
      system_fingerprint: "simulated",
      choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop", logprobs: null }],
      usage: { prompt_tokens: prompt, completion_tokens: completionTokens, total_tokens: prompt + completionTokens },
    },
  };
}

/** Qwen3-VL: one token for each 32 × 32 pixels, and two. */
export const imageTokens = ({ width, height }: { width: number; height: number }) =>
  Math.floor((width * height) / 32 ** 2) + 2;
/** About four characters a token in English. */
const textTokens = (text: string) => Math.ceil(text.length / 4);

/** What broken answers look like: cut off, talk, a form of its own, nothing at all. None of it is a readable verdict. */
export function brokenAnswer(judgement: Judgement, random: Random): string {
  const whole = JSON.stringify(judgement);
  const forms = [
    whole.slice(0, Math.max(1, Math.floor(whole.length * 0.6))),
    `I can see that ${judgement.description}`,
    `riskLevel: ${judgement.riskLevel}\nconfidence: ${judgement.confidence}`,
    "",
  ];
  return forms[Math.floor(random() * forms.length)] ?? "";
}
