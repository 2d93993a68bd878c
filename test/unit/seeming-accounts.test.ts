/** What headers say of limits and owners, and which keys seem to share an account by it. */
import { expect, test } from "vitest";
import { type CalledKey, seemingAccounts } from "../../src/processors/seeming-accounts.ts";
import { limitsIn, ownerIn } from "../../src/processors/told-limits.ts";

const NOW_MS = Date.UTC(2026, 0, 1);

test("limits in the headers of several providers", () => {
  const openai = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-tokens": "29900",
    "x-ratelimit-reset-tokens": "1m2s",
  };
  expect(limitsIn(openai, NOW_MS)).toEqual([
    { what: "requests", limit: 500, remaining: 499, resetMs: 120 },
    { what: "tokens", limit: 30_000, remaining: 29_900, resetMs: 62_000 },
  ]);
  const reset = String(NOW_MS + 30_000);
  const openrouter = { "x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset };
  expect(limitsIn(openrouter, NOW_MS)).toEqual([{ what: "requests", limit: 20, remaining: 0, resetMs: 30_000 }]);
  const anthropic = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": new Date(NOW_MS + 1_000).toISOString(),
  };
  expect(limitsIn(anthropic, NOW_MS)).toEqual([{ what: "requests", limit: 50, remaining: 49, resetMs: 1_000 }]);
  expect(limitsIn({ "x-ratelimit-limit": "many", "retry-after": "3" }, NOW_MS)).toEqual([]);
});

test("an owner in a header or in a refusal's words", () => {
  expect(ownerIn({ "openai-organization": "acme" })).toBe("acme");
  expect(ownerIn({ "anthropic-organization-id": "0a1b" })).toBe("0a1b");
  expect(ownerIn({}, "Rate limit reached for gpt-4o in organization org-AbC12 on requests per min")).toBe("org-AbC12");
  expect(ownerIn({}, "no")).toBeNull();
});

const called = (name: string, remaining: number | null, more: Partial<CalledKey> = {}): CalledKey => ({
  name,
  owner: null,
  limits: remaining === null ? [] : [{ what: "requests", limit: 60, remaining, resetMs: null }],
  counted: true,
  ...more,
});

test("keys whose calls count down one counter seem to share it; fresh accounts of their own do not", () => {
  expect(seemingAccounts([called("a", 59), called("b", 59), called("c", 59)])).toEqual([]);
  expect(seemingAccounts([called("a", 59), called("b", 59), called("c", 58), called("d", 57)])).toEqual([
    { keys: ["a", "c", "d"], why: expect.stringContaining("one request less") },
  ]);
  expect(seemingAccounts([called("a", 59), called("b", 40), called("c", 57)])).toEqual([]);
  expect(seemingAccounts([called("a", 59), called("b", 58, { counted: false }), called("c", null)])).toEqual([]);
  const other = { limits: [{ what: "requests", limit: 10, remaining: 58, resetMs: null }] };
  expect(seemingAccounts([called("a", 59), called("b", null, other)])).toEqual([]);
});

test("who is named by the provider counts, and no counter beside it", () => {
  const keys = [
    called("a", 59, { owner: "acme" }),
    called("b", 58, { owner: "other" }),
    called("c", 30, { owner: "acme" }),
  ];
  expect(seemingAccounts(keys)).toEqual([{ keys: ["a", "c"], why: "the provider names acme for each" }]);
});
