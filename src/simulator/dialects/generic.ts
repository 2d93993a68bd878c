/** A server that knows and says as little as HTTP lets it (RFC 9110, RFC 6585): statuses, a plain text, Retry-After. */
import type { Answer } from "../answers.ts";
import { type SpokenDialect, wholeSeconds } from "./dialect.ts";

const plain = (status: number, message: string): Answer => ({ status, body: { error: { message } } });

const FULL = {
  second: "Too many requests per second",
  minute: "Too many requests per minute",
  day: "Too many requests per day",
  tokens: "Too many tokens per minute",
  burst: "Too many requests in one burst",
  concurrency: "Too many concurrent requests",
} as const;

export const generic: SpokenDialect = {
  // It knows what every server knows.
  unfit({ format, maxCompletionTokens }) {
    if (format !== undefined) return "Unknown parameter: 'response_format'";
    return maxCompletionTokens === undefined ? undefined : "Unknown parameter: 'max_completion_tokens'";
  },
  full({ kind, tellsWait, freeInMs }) {
    const answer = plain(429, FULL[kind]);
    return tellsWait ? { ...answer, headers: { "retry-after": String(wholeSeconds(freeInMs)) } } : answer;
  },
  unknownKey: () => plain(401, "Unauthorized"),
  arrears: () => plain(402, "Payment Required"),
  modelDenied: () => plain(403, "This key does not have access to the model"),
  contentRefused: () => plain(451, "Refused by the content policy"),
  badRequest: (message, status) => plain(status, message),
  noSuchPath: () => plain(404, "Not Found"),
  serverError: (overloaded) =>
    plain(overloaded ? 503 : 500, overloaded ? "Service Unavailable" : "Internal Server Error"),
};
