import fc from "fast-check";
import { expect, test } from "vitest";
import { Assessment, RISK_LEVELS } from "../../src/messages.ts";
import { parseVerdict } from "../../src/processors/verdict.ts";

const subject = { groupIndex: 1, memberIndices: [0, 1, 2, 5] };

const tidy = (text: string) => text.trim();
const assessments: fc.Arbitrary<Assessment> = fc.record({
  riskLevel: fc.constantFrom(...RISK_LEVELS),
  confidence: fc.double({ min: 0, max: 1, noNaN: true }).map((v) => v + 0),
  riskTypes: fc.uniqueArray(
    fc
      .string({ minLength: 1, maxLength: 40 })
      .map(tidy)
      .filter((t) => t !== "" && !/^(none|无|n\/a)$/i.test(t)),
  ),
  description: fc.string({ maxLength: 400, unit: "grapheme" }).map(tidy),
  dangerObjectCount: fc.option(fc.nat(50), { nil: null }),
  triggerObjectIds: fc.subarray([0, 1, 2, 5]),
});

/** Text as models make it go wrong: JSON-like pieces in any order. */
const nearlyJson = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "{",
        "}",
        "[",
        "]",
        '"',
        ":",
        ",",
        "\\",
        "```json",
        "null",
        "1e999",
        '"riskLevel"',
        '"results"',
        '"none"',
        "</think>",
        "\ud800",
      ),
      fc.string({ maxLength: 5 }),
      fc.json(),
    ),
    { maxLength: 40 },
  )
  .map((pieces) => pieces.join(""));

test("no text throws, and what is read is a valid assessment", () => {
  const texts = fc.oneof(
    fc.string({ unit: "binary" }),
    nearlyJson,
    fc.json(),
    assessments.map((a) => JSON.stringify(a).slice(0, -3)),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const answer = parseVerdict(text, subject);
      if (answer.kind === "verdict") expect(Assessment.parse(answer.assessment)).toEqual(answer.assessment);
      else expect(answer.why).not.toBe("");
    }),
    { numRuns: 2_000 },
  );
});

test("any values in the fields: never throws, and without one of the four levels never a verdict", () => {
  const record = fc.dictionary(
    fc.constantFrom(
      "riskLevel",
      "maxRiskLevel",
      "results",
      "confidence",
      "riskTypes",
      "description",
      "dangerObjectCount",
      "triggerObjectIds",
    ),
    fc.jsonValue(),
  );
  fc.assert(
    fc.property(record, (fields) => {
      const answer = parseVerdict(JSON.stringify(fields), subject);
      if (answer.kind === "verdict") Assessment.parse(answer.assessment);
    }),
    { numRuns: 2_000 },
  );
});

test("round trip: flat, nested, fenced", () => {
  fc.assert(
    fc.property(assessments, fc.integer({ min: 1, max: 9 }), (assessment, groupIndex) => {
      const expected = { kind: "verdict", assessment };
      const flat = JSON.stringify(assessment);
      const nested = JSON.stringify({ maxRiskLevel: "none", results: [{ ...assessment, groupIndex }] });
      for (const text of [flat, nested, `\`\`\`json\n${flat}\n\`\`\``, `So: ${nested}.`]) {
        expect(parseVerdict(text, { ...subject, groupIndex })).toEqual(expected);
      }
    }),
  );
});

test("a hostile text of braces is read in no time", () => {
  const startedAt = performance.now();
  expect(parseVerdict("{".repeat(100_000), subject).kind).toBe("unreadable");
  expect(parseVerdict('{"a":'.repeat(20_000), subject).kind).toBe("unreadable");
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});
