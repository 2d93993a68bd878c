/**
 * https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html: errors without a frame, named by their Python class;
 * Ollama's queue (https://github.com/ollama/ollama/blob/main/docs/faq.md) stands for every window, as such servers have none.
 */
import type { Answer } from "../answers.ts";
import type { SpokenDialect } from "./dialect.ts";

const bare = (code: number, type: string, message: string): Answer => ({
  status: code,
  body: { object: "error", message, type, param: null, code },
});

export const vllm: SpokenDialect = {
  unfit: () => undefined,
  full: () => ({
    status: 503,
    body: {
      error: {
        message: "server busy, please try again.  maximum pending requests exceeded",
        type: "api_error",
        param: null,
        code: null,
      },
    },
  }),
  unknownKey: () => ({ status: 401, body: { error: "Unauthorized" } }),
  // Nobody pays such a server; a proxy before it that does is what HTTP has a status for.
  arrears: () => bare(402, "PaymentRequired", "Payment Required"),
  modelDenied: (model) => bare(404, "NotFoundError", `The model \`${model}\` does not exist.`),
  contentRefused: () => bare(400, "BadRequestError", "content_filter: the guardrail in front of the model refused it"),
  badRequest: (message, status) => bare(status, "BadRequestError", message),
  noSuchPath: () => ({ status: 404, body: { detail: "Not Found" } }),
  serverError: (overloaded) =>
    overloaded
      ? bare(503, "ServiceUnavailableError", "The engine is starting.")
      : bare(500, "InternalServerError", "EngineCore encountered an issue. See stack trace for the root cause."),
};
