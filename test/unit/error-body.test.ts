import fc from "fast-check";
import { expect, test } from "vitest";
import { readErrorBody } from "../../src/processors/error-body.ts";

test.each<[string, unknown, object]>([
  [
    "OpenAI's, unpacked by its client",
    { message: "no", type: "requests", param: null, code: "rate_limit_exceeded" },
    { code: "rate_limit_exceeded", type: "requests", text: "no", details: "" },
  ],
  [
    "Gemini's, a list of one",
    [{ error: { code: 429, message: "no", status: "RESOURCE_EXHAUSTED", details: [{ retryDelay: "3s" }] } }],
    { code: "429", type: "RESOURCE_EXHAUSTED", text: "no", details: '{"details":[{"retryDelay":"3s"}]}' },
  ],
  [
    "vLLM's, without a frame",
    { object: "error", message: "no", type: "NotFoundError", param: null, code: 404 },
    { code: "404", type: "NotFoundError", text: "no" },
  ],
  [
    "OpenRouter's, with what lies behind",
    { message: "Provider returned error", code: 429, metadata: { retry_after_seconds: 29 } },
    { code: "429", text: "Provider returned error", details: '{"metadata":{"retry_after_seconds":29}}' },
  ],
  ["a text", "Unauthorized", { text: "Unauthorized" }],
  ["FastAPI's", { detail: "Not Found" }, { text: "Not Found" }],
  ["nothing", undefined, { text: "fallback" }],
  ["an empty list", [], { text: "fallback" }],
])("%s", (_, body, means) => {
  expect(readErrorBody(body, "fallback")).toMatchObject(means);
});

test("whatever it is, it can be read, and is never long", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (body) => {
      const read = readErrorBody(body, "f");
      for (const value of Object.values(read)) expect(typeof value).toBe("string");
      expect(read.details.length).toBeLessThanOrEqual(4_000);
    }),
  );
});
