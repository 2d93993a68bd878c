/** The lines in which `vigilane keys verify` says what it found. */
import { expect, test } from "vitest";
import { reportLines, type VerifiedKey, type VerifyReport } from "../../src/commands/keys-verify-report.ts";
import type { KeyCheck } from "../../src/processors/check-key.ts";

const check: KeyCheck = {
  ...{ state: "usable", refusal: null, latencyMs: 812, modelFound: true, model: "m", sent: true },
  ...{ limits: [], owner: null, tokens: { prompt: 80, completion: 2 } },
};
const key = (name: string, group: string, account = group): VerifiedKey => ({
  ...{ group, key: name, account, model: "m", state: "usable", check, why: null },
});
const report = (over: Partial<VerifyReport>): string[] =>
  reportLines({
    keys: [key("1", "a"), key("2", "a"), key("3", "b"), key("4", "c", "b")],
    ...{ seeming: [], probed: [], spent: { calls: 4, promptTokens: 320, completionTokens: 8 } },
    ...over,
  });
const probed = (quotas: string[][], notKnown: { name: string; why: string }[] = []) =>
  report({ probed: [{ name: "x, m at y", sharing: { quotas, notKnown, calls: 9 }, why: null }] });

test("what shares is told how to be written; what the file counts as one and is not, too", () => {
  expect(probed([["a/1", "b/3"], ["a/2"], ["c/4"]])).toEqual(
    expect.arrayContaining([
      "x, m at y: these 4 keys give 3 quotas.",
      "  shared: a/1, b/3. The keys' file counts them as 2: write `account: a` at a and b.",
      "  separate, a quota of its own each: a/2, c/4",
      expect.stringContaining("counts a/1 and a/2 as one account (a), but they are not"),
    ]),
  );
  expect(
    probed([
      ["a/1", "a/2"],
      ["b/3", "c/4"],
    ]),
  ).toEqual(
    expect.arrayContaining([
      "  shared: a/1, a/2. The keys' file counts them as one already.",
      "  shared: b/3, c/4. The keys' file counts them as one already.",
    ]),
  );
});

test("what is not known is no quota that may be counted on", () => {
  const lines = probed([["a/1"], ["b/3"]], [{ name: "a/2", why: "no luck" }]);
  expect(lines).toContain("x, m at y: these 3 keys give at least 2 quotas.");
  expect(lines).toContain("  not known: a/2: no luck");
});

test("a domain that was not probed, a key that was not asked, a hint, the bill", () => {
  const lines = report({
    keys: [{ ...key("1", "a"), state: "held", check: null, why: "its window day allows no more" }, key("3", "b")],
    seeming: [{ keys: ["a/1", "b/3"], why: "they are one and the same secret" }],
    probed: [{ name: "x", sharing: null, why: "it has one key" }],
  });
  expect(lines).toContain("a/1: not asked: its window day allows no more");
  expect(lines).toContain(
    "a/1, b/3 seem to share one account: they are one and the same secret. The keys' file counts them as 2: write `account: a` at a and b.",
  );
  expect(lines).toContain("x: not probed: it has one key");
  expect(lines.at(-1)).toBe("Spent: 4 calls; the first one of each key took 320 + 8 tokens in all.");
});
