import { expect, test } from "vitest";
import { REFUSAL_CAUSES, type RefusalCause, type RefusedAnswer, sortRefusal } from "../../src/processors/refusal.ts";
import { blamedAllTheSame, refusalToSays } from "../../src/processors/refusal-to-says.ts";
import { DEFAULT_COOLING } from "../../src/queues/call-policy.ts";

const ANSWERS: Record<RefusalCause, Partial<RefusedAnswer>> = {
  rate_second: { status: 429, text: "requests per second" },
  rate_minute: { status: 429, text: "requests per minute" },
  burst: { status: 429, text: "Too many concurrent requests" },
  tokens: { status: 429, text: "tokens per minute" },
  day: { status: 429, text: "requests per day" },
  balance: { status: 402 },
  key: { status: 401 },
  model: { status: 404 },
  content: { status: 400, text: "content_filter" },
  request: { status: 400 },
  server: { status: 500 },
  timeout: { status: 504 },
  network: { status: undefined },
};
/** What is said of group and key. */
const SAID: Record<RefusalCause, [group: string, key: string]> = {
  rate_second: ["limited", "innocent"],
  rate_minute: ["limited", "innocent"],
  burst: ["limited", "innocent"],
  tokens: ["limited", "innocent"],
  day: ["refused", "returned"],
  balance: ["refused", "returned"],
  key: ["returned", "refused"],
  model: ["refused", "returned"],
  content: ["innocent", "innocent"],
  request: ["innocent", "innocent"],
  server: ["failed", "returned"],
  timeout: ["failed", "returned"],
  network: ["failed", "returned"],
};
const sort = (answer: Partial<RefusedAnswer>, provider = "") =>
  sortRefusal({ status: 429, text: "", headers: {}, nowMs: 1_700_000_000_000, ...answer }, provider);

test.each(REFUSAL_CAUSES)("%s", (cause) => {
  const sorted = sort(ANSWERS[cause]);
  expect(sorted.cause).toBe(cause);
  const { group, key, cools } = refusalToSays(sorted, false, DEFAULT_COOLING);
  expect([group.kind, key.kind]).toEqual(SAID[cause]);
  expect(cools).toBe(sorted.cools);
});

test("a key that may not use the model, or has used up what it may spend, is at fault alone", () => {
  const denied = sort({ status: 403, text: "does not have access to model x" }, "openai");
  expect(refusalToSays(denied, false, DEFAULT_COOLING)).toEqual({
    group: { kind: "returned" },
    key: { kind: "refused", firstMs: 3_000, untilInMs: null },
    cools: "key",
  });
});

test("a wait that the provider names is when it ends; the first probe comes soon all the same", () => {
  const day = sort({ text: "requests per day", headers: { "retry-after": "7200" } });
  expect(refusalToSays(day, false, DEFAULT_COOLING).group).toEqual({
    ...{ kind: "refused", firstMs: 3_000, untilInMs: 7_200_000 },
  });
});

test("the task's own deadline says nothing; a call that was cut short for the task's sake says what a time-out says", () => {
  const cut = { ...sort(ANSWERS.timeout), blames: "nobody" as const, coolMs: 0 };
  expect(refusalToSays(cut, true, DEFAULT_COOLING)).toMatchObject({
    ...{ group: { kind: "returned" }, key: { kind: "returned" }, cools: "nothing" },
  });
  expect(blamedAllTheSame(cut)).toEqual(sort(ANSWERS.timeout));
  const full = sort(ANSWERS.rate_second);
  expect(blamedAllTheSame(full)).toBe(full);
});
