import { expect, test } from "vitest";
import { judge } from "../../src/simulator/judge.ts";
import { seededRandom } from "../../src/simulator/latency.ts";

const LEVELS = ["none", "low", "medium", "high"];
const prompt = (facts: unknown) => `Judge.\n\`\`\`facts\n${JSON.stringify(facts)}\n\`\`\`\nNow.`;
const person = (x: number) => ({ id: 0, class: "person", bbox: [x, 100, x + 40, 200] });
const car = { id: 4, class: "car", bbox: [200, 100, 400, 220] };
const meanLevel = (facts: unknown) => {
  const random = seededRandom(5);
  const levels = Array.from({ length: 200 }, () => LEVELS.indexOf(judge(prompt(facts), random).riskLevel));
  return levels.reduce((a, b) => a + b, 0) / levels.length;
};

test("the nearer a person is to a vehicle, the higher the risk", () => {
  const byDistance = [-400, 40, 120, 150, 210].map((x) => meanLevel({ objects: [person(x), car] }));
  expect(byDistance).toEqual([...byDistance].sort((a, b) => a - b));
  expect(byDistance[0]).toBe(0);
  expect(byDistance.at(-1)).toBeGreaterThan(1.5);
});

test("approaching is worse than standing still, and that worse than parting", () => {
  const closing = (closingSpeedPxPerSecond: number) =>
    meanLevel({
      objects: [person(150), car],
      features: { closingSpeedPxPerSecond, vulnerableToVehicleHeights: 0.1, maxOverlap: 0 },
    });
  expect(closing(100)).toBeGreaterThan(closing(0));
  expect(closing(0)).toBeGreaterThanOrEqual(closing(-100));
  expect(closing(100)).toBeGreaterThan(2.5);
});

test("a high risk names both and says why", () => {
  const features = { closingSpeedPxPerSecond: 200, vulnerableToVehicleHeights: 0, maxOverlap: 0.3 };
  expect(judge(prompt({ objects: [person(210), car], features }), seededRandom(1))).toMatchObject({
    riskLevel: "high",
    triggerObjectIds: [0, 4],
    dangerObjectCount: 2,
    riskTypes: ["pedestrian-vehicle conflict"],
    description: expect.stringMatching(/person is right at a car.*approach/),
  });
});

test("people among themselves are no risk, a crowd is a low one", () => {
  const people = (n: number) => ({ objects: Array.from({ length: n }, (_, i) => ({ ...person(i * 30), id: i })) });
  expect(meanLevel(people(3))).toBe(0);
  expect(meanLevel(people(9))).toBe(1);
});

test("the same seed judges alike, and the seed varies borderline cases", () => {
  const facts = { objects: [person(120), car] };
  const series = (seed: number) => {
    const random = seededRandom(seed);
    return Array.from({ length: 50 }, () => judge(prompt(facts), random));
  };
  expect(series(1)).toEqual(series(1));
  expect(new Set(series(1).map(({ confidence }) => confidence)).size).toBeGreaterThan(3);
});

test.each([["Is this dangerous?"], ["```facts\n{broken\n```"], [prompt({ objects: "none" })]])(
  "a prompt without facts gets a verdict that says so: %j",
  (text) => {
    const judgement = judge(text, seededRandom(1));
    expect(judgement).toMatchObject({ riskLevel: "none", confidence: 0.1, triggerObjectIds: [] });
    expect(judgement.description).toContain("nothing could be judged");
  },
);
