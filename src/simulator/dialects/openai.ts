/** https://platform.openai.com/docs/guides/error-codes and …/rate-limits: the message names the window and the wait. */
import { type Full, openAiFrame, type Parameters, type SpokenDialect, wholeSeconds } from "./dialect.ts";

/** …/docs/guides/reasoning: these take neither max_tokens nor a temperature of one's own. */
const REASONING = /^(o\d|gpt-5)/;

function unfit({ model, format, schema, maxTokens, temperature }: Parameters): string | undefined {
  if (REASONING.test(model) && maxTokens !== undefined)
    return "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
  if (REASONING.test(model) && (temperature ?? 1) !== 1)
    return `Unsupported value: 'temperature' does not support ${temperature} with this model. Only the default (1) value is supported.`;
  return format === "json_schema" ? unfitSchema(schema) : undefined;
}

/** …/docs/guides/structured-outputs: strict, so every field is required and no other allowed. */
function unfitSchema(sent: unknown): string | undefined {
  const { name, strict, schema } = Object(sent) as Record<string, unknown>;
  const { type, properties, required, additionalProperties } = Object(schema) as Record<string, unknown>;
  if (typeof name !== "string") return "Missing required parameter: 'response_format.json_schema.name'.";
  const said = `Invalid schema for response_format '${name}': In context=(), `;
  if (type !== "object") return `${said}schema must be a JSON Schema of 'type: "object"'.`;
  if (strict !== true) return undefined;
  if (additionalProperties !== false)
    return `${said}'additionalProperties' is required to be supplied and to be false.`;
  const missing = Object.keys(Object(properties)).find((key) => !Array.isArray(required) || !required.includes(key));
  return missing === undefined
    ? undefined
    : `${said}'required' is required to include every key. Missing '${missing}'.`;
}

const ORGANIZATION = "simulated-vision in organization simulated";

const WINDOWS = {
  second: ["requests per second (RPS)", "requests"],
  minute: ["requests per min (RPM)", "requests"],
  day: ["requests per day (RPD)", "requests"],
  tokens: ["tokens per min (TPM)", "tokens"],
} as const;

/** "320ms", "20s", "7m12s", as the messages and the reset headers have it. */
function span(ms: number): string {
  if (ms < 1_000) return `${Math.ceil(ms)}ms`;
  const seconds = wholeSeconds(ms);
  const parts = [
    [Math.floor(seconds / 3_600), "h"],
    [Math.floor((seconds % 3_600) / 60), "m"],
    [seconds % 60, "s"],
  ] as const;
  return parts
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount}${unit}`)
    .join("");
}

function windowFull({ kind, limit, freeInMs, tellsWait }: Full & { kind: keyof typeof WINDOWS }) {
  const [unit, type] = WINDOWS[kind];
  const wait = tellsWait ? ` Please try again in ${span(freeInMs)}.` : "";
  const message = `Rate limit reached for ${ORGANIZATION} on ${unit}: Limit ${limit}, Used ${limit}, Requested 1.${wait}`;
  const answer = openAiFrame(429, "rate_limit_exceeded", message, type);
  if (!tellsWait) return answer;
  return {
    ...answer,
    headers: {
      "retry-after": String(wholeSeconds(freeInMs)),
      "retry-after-ms": String(Math.ceil(freeInMs)),
      [`x-ratelimit-limit-${type}`]: String(limit),
      [`x-ratelimit-remaining-${type}`]: "0",
      [`x-ratelimit-reset-${type}`]: span(freeInMs),
    },
  };
}

export const openai: SpokenDialect = {
  unfit,
  standing: ({ account, window }) => ({
    "openai-organization": `simulated-${account}`,
    ...(window && {
      "x-ratelimit-limit-requests": String(window.limit),
      "x-ratelimit-remaining-requests": String(window.remaining),
      "x-ratelimit-reset-requests": span(window.freeInMs),
    }),
  }),
  worked: (ms) => ({ "openai-processing-ms": ms.toFixed(0) }),
  full(full) {
    const { kind } = full;
    if (kind === "burst" || kind === "concurrency") {
      return openAiFrame(503, "slow_down", "Slow Down: your request rate rose too suddenly.", "server_error");
    }
    return windowFull({ ...full, kind });
  },
  unknownKey: () =>
    openAiFrame(
      401,
      "invalid_api_key",
      "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
      "invalid_request_error",
    ),
  arrears: () =>
    openAiFrame(
      429,
      "insufficient_quota",
      "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
      "insufficient_quota",
    ),
  modelDenied: (model) =>
    openAiFrame(
      403,
      "model_not_found",
      `Project \`proj_simulated\` does not have access to model \`${model}\``,
      "invalid_request_error",
    ),
  contentRefused: () =>
    openAiFrame(
      400,
      "content_policy_violation",
      "Your request was rejected as a result of our safety system.",
      "invalid_request_error",
    ),
  badRequest: (message, status) => openAiFrame(status, null, message, "invalid_request_error"),
  noSuchPath: () => openAiFrame(404, null, "Invalid URL.", "invalid_request_error"),
  serverError: (overloaded) =>
    overloaded
      ? openAiFrame(503, null, "The engine is currently overloaded, please try again later.", "server_error")
      : openAiFrame(
          500,
          null,
          "The server had an error while processing your request. Sorry about that!",
          "server_error",
        ),
};
