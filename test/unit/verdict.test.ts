import { describe, expect, test } from "vitest";
import { parseVerdict } from "../../src/processors/verdict.ts";

const subject = { groupIndex: 2, memberIndices: [0, 3, 7] };
const read = (text: string) => parseVerdict(text, subject);
const flat = {
  riskLevel: "high",
  confidence: 0.92,
  riskTypes: ["pedestrian-vehicle conflict"],
  description: "A person steps in front of a car.",
  dangerObjectCount: 2,
  triggerObjectIds: [0, 3],
};
const verdictOf = (text: string) => {
  const answer = read(text);
  if (answer.kind === "unreadable") throw new Error(answer.why);
  return answer.assessment;
};

describe("the two shapes", () => {
  test("flat", () => expect(verdictOf(JSON.stringify(flat))).toEqual(flat));

  test("nested: the entry of this group, not the first", () => {
    const results = [
      { ...flat, groupIndex: 1, riskLevel: "none" },
      { ...flat, groupIndex: 2, riskLevel: "medium" },
    ];
    const nested = { hasDangerousDriving: true, maxRiskLevel: "medium", results };
    expect(verdictOf(JSON.stringify(nested))).toEqual({ ...flat, riskLevel: "medium" });
  });

  test("nested: an only entry is meant whatever its index", () => {
    const nested = { hasDangerousDriving: true, maxRiskLevel: "high", results: [{ ...flat, groupIndex: 1 }] };
    expect(verdictOf(JSON.stringify(nested))).toEqual(flat);
  });

  test("nested: of several strange entries the riskiest", () => {
    const results = [
      { ...flat, groupIndex: 8, riskLevel: "low" },
      { ...flat, groupIndex: 9, riskLevel: "high" },
    ];
    expect(verdictOf(JSON.stringify({ results })).riskLevel).toBe("high");
  });

  test("nested without entries: the level over all", () => {
    const nested = { hasDangerousDriving: false, maxRiskLevel: "none", results: [] };
    expect(verdictOf(JSON.stringify(nested))).toMatchObject({ riskLevel: "none", confidence: 0, riskTypes: [] });
  });

  test("nested with neither entries nor a level is unreadable, not none", () => {
    expect(read('{"hasDangerousDriving": false, "results": []}').kind).toBe("unreadable");
  });
});

describe("what stands around the JSON", () => {
  const json = JSON.stringify(flat, null, 1);
  test.each([
    ["a code fence", `\`\`\`json\n${json}\n\`\`\``],
    ["talk before and after", `Here is {my} verdict: ${json}\nStay safe {always}!`],
    ["a thinking part", `<think>perhaps {"riskLevel":"low"}</think>${json}`],
    ["a text inside a text", JSON.stringify(JSON.stringify(flat))],
    ["a list of one", `[${json}]`],
    ["a byte order mark and blanks", `\ufeff \n ${json} \n`],
  ])("%s", (_, text) => expect(verdictOf(text)).toEqual(flat));
});

describe("levels", () => {
  test.each([
    ["None", "none"],
    ["NO RISK", "none"],
    [" Low ", "low"],
    ["Moderate", "medium"],
    ["medium risk", "medium"],
    ["HIGH", "high"],
    ["Critical", "high"],
    ["高风险", "high"],
    ["无", "none"],
  ])("%s is %s", (said, level) => {
    expect(verdictOf(JSON.stringify({ ...flat, riskLevel: said })).riskLevel).toBe(level);
  });

  test.each([["unknown"], ["none|low|medium|high"], [""], [3], [null], [undefined], [["high"]]])(
    "%j is unreadable, never none",
    (said) => expect(read(JSON.stringify({ ...flat, riskLevel: said })).kind).toBe("unreadable"),
  );
});

describe("confidence", () => {
  test.each([
    [0.4, 0.4],
    ["0.4", 0.4],
    ["92%", 0.92],
    [92, 0.92],
    ["high", 0.85],
    [1.2, 1],
    [-3, 0],
    [500, 1],
    ["sure", 0],
    [null, 0],
  ])("%j is %d", (said, confidence) => {
    expect(verdictOf(JSON.stringify({ ...flat, confidence: said })).confidence).toBeCloseTo(confidence, 10);
  });
});

test("only ids of the group's members are kept, once each", () => {
  const answer = { ...flat, triggerObjectIds: [3, "7", 3, 99, "x", 0.5] };
  expect(verdictOf(JSON.stringify(answer)).triggerObjectIds).toEqual([3, 7, 0]);
});

test("risk types come as a list or as one text", () => {
  expect(verdictOf(JSON.stringify({ ...flat, riskTypes: "crowding, 车人冲突、none" })).riskTypes).toEqual([
    "crowding",
    "车人冲突",
  ]);
  expect(verdictOf(JSON.stringify({ ...flat, riskTypes: [1, " ", "a", "a"] })).riskTypes).toEqual(["a"]);
});

test.each([
  ["", "empty"],
  ["I see a car.", "no JSON object"],
  ['{"riskLevel": "high", "confidence": 0.', "no JSON object"],
  ["null", "no object"],
  ['{"level": "high"}', "riskLevel is missing"],
])("%j is unreadable and says why", (text, why) => {
  expect(read(text)).toEqual({ kind: "unreadable", why: expect.stringContaining(why) });
});
