/** What a chat request asks for, by provider and model: the right words for the answer's length and for its form. */
import { describe, expect, test } from "vitest";
import { Assessment } from "../../src/messages.ts";
import { answerFormOf, looserForm, refusesForm, requestBody } from "../../src/processors/request-body.ts";
import { VERDICT_SCHEMA } from "../../src/processors/verdict-schema.ts";

const messages = [{ role: "user" as const, content: "JSON" }];
const body = (provider: string, model: string, form: "schema" | "object" | "prompt" = "prompt") =>
  requestBody({ provider, model }, { messages, maxTokens: 99, form });

describe("the most tokens of an answer, and the temperature", () => {
  test.each([
    ["dashscope", "qwen-vl-plus", { max_tokens: 99, temperature: 0 }],
    ["gemini", "gemini-2.5-flash", { max_tokens: 99, temperature: 0 }],
    ["openai", "gpt-4o", { max_completion_tokens: 99, temperature: 0 }],
    ["openai", "gpt-5-mini", { max_completion_tokens: 99 }],
    ["openai", "o4-mini", { max_completion_tokens: 99 }],
    ["openrouter", "openai/gpt-5-mini", { max_tokens: 99 }],
    ["custom", "gpt-5", { max_completion_tokens: 99 }],
    ["custom", "llava", { max_tokens: 99, temperature: 0 }],
    ["", "anything", { max_tokens: 99, temperature: 0 }],
  ])("%s, %s", (provider, model, expected) => {
    expect(body(provider, model)).toEqual({ model, messages, ...expected });
  });
});

describe("the form of the answer", () => {
  test("the strictest that is known, and what is tried when it is refused", () => {
    expect(answerFormOf({ jsonSchema: true, jsonObject: true })).toBe("schema");
    expect(answerFormOf({ jsonSchema: false, jsonObject: true })).toBe("object");
    expect(answerFormOf({})).toBe("prompt");
    expect([looserForm("schema"), looserForm("object")]).toEqual(["object", "prompt"]);
  });

  test("the schema is the verdict's own, strict and without bounds", () => {
    expect(body("openai", "gpt-4o", "schema")).toMatchObject({
      response_format: { type: "json_schema", json_schema: { name: "verdict", strict: true, schema: VERDICT_SCHEMA } },
    });
    const fields = Object.keys(Assessment.shape);
    expect(VERDICT_SCHEMA).toMatchObject({ type: "object", required: fields, additionalProperties: false });
    expect(Object.keys(VERDICT_SCHEMA.properties as object)).toEqual(fields);
    expect(JSON.stringify(VERDICT_SCHEMA)).not.toMatch(/imum|\$schema/);
    expect(body("dashscope", "qwen-vl-plus", "object")).toMatchObject({ response_format: { type: "json_object" } });
  });

  test.each([
    ["the provider answered 400 'response_format' of type 'json_schema' is not supported by this model.", true],
    ["the provider answered 400 Unknown parameter: 'response_format'", true],
    ["the provider answered 400 Unsupported response_format type: 'json_object'", true],
    ["the provider answered 400 The image format is illegal and cannot be opened.", false],
  ])("is %s about it?", (said, expected) => {
    expect(refusesForm(said)).toBe(expected);
  });
});
