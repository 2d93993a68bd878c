/**
 * The body of a chat request as its provider and model take it: what the most tokens of an answer are called, how JSON is
 * asked for, whether a temperature may be named. Pure.
 */
import { PROVIDERS, type ProviderName } from "../queues/provider-presets.ts";
import type { ChatMessage } from "./prompt.ts";
import { VERDICT_SCHEMA } from "./verdict-schema.ts";

/**
 *   schema   response_format json_schema: the verdict's own form, which the provider enforces
 *   object   response_format json_object: any JSON; the prompt says which
 *   prompt   the prompt alone asks for JSON
 */
export const ANSWER_FORMS = ["schema", "object", "prompt"] as const;
export type AnswerForm = (typeof ANSWER_FORMS)[number];

export interface ForWhom {
  provider: string;
  model: string;
}

/** The strictest form that a key group's server knows. */
export const answerFormOf = (known: { jsonSchema?: boolean | undefined; jsonObject?: boolean | undefined }) =>
  known.jsonSchema ? "schema" : known.jsonObject ? "object" : "prompt";

/** What is tried where a server refuses the form that it was said to know. */
export const looserForm = (form: AnswerForm): AnswerForm => (form === "schema" ? "object" : "prompt");

export function requestBody(
  { provider, model }: ForWhom,
  asked: { messages: readonly ChatMessage[]; maxTokens: number; form: AnswerForm },
) {
  return {
    model,
    messages: [...asked.messages],
    ...(!thinksFirst(model) && { temperature: 0 }),
    [maxTokensName({ provider, model })]: asked.maxTokens,
    ...responseFormat(asked.form),
  };
}

/**
 * The provider's own name for it; at a server that is nobody's in particular the model decides (Azure's are OpenAI's).
 * Source: platform.openai.com, API reference of chat completions: max_tokens "is not compatible with o-series models".
 */
function maxTokensName({ provider, model }: ForWhom): "max_tokens" | "max_completion_tokens" {
  if (provider in PROVIDERS && provider !== "custom") return PROVIDERS[provider as ProviderName].maxTokensName;
  return thinksFirst(model) ? "max_completion_tokens" : "max_tokens";
}

/** OpenAI's reasoning models, wherever they are served: "'temperature' does not support 0 with this model". */
const thinksFirst = (model: string) => /^(openai\/)?(o\d|gpt-5)/i.test(model);

function responseFormat(form: AnswerForm) {
  switch (form) {
    case "schema": {
      const json_schema = { name: "verdict", strict: true, schema: { ...VERDICT_SCHEMA } };
      return { response_format: { type: "json_schema" as const, json_schema } };
    }
    case "object":
      return { response_format: { type: "json_object" as const } };
    case "prompt":
      return {};
    default:
      return form satisfies never;
  }
}

/** A refusal of the form itself, and not of what was asked: its words name the parameter. */
export const refusesForm = (said: string): boolean =>
  /response_?format|json_?schema|json_?object|structured output|json mode/i.test(said);
