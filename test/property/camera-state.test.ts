import fc from "fast-check";
import { expect, test } from "vitest";
import { OUTCOMES, RISK_LEVELS } from "../../src/messages.ts";
import { type CameraState, EMPTY, riskOf, takeIn } from "../../src/results/camera-state.ts";
import { type MadeResult, resultOf } from "../support/results.ts";

/** Results of a few frames of one camera, each task and revision once, as many equal moments as possible. */
const results = fc
  .uniqueArray(
    fc.record({
      frame: fc.constantFrom("a", "b", "c", "d"),
      group: fc.integer({ min: 1, max: 3 }),
      revision: fc.integer({ min: 1, max: 3 }),
      outcome: fc.constantFrom(...OUTCOMES),
      riskLevel: fc.constantFrom(...RISK_LEVELS),
    }),
    { selector: ({ frame, group, revision }) => `${frame}${group}#${revision}`, maxLength: 30 },
  )
  .map((all) =>
    all.map(({ frame, group, ...rest }): MadeResult => {
      const capturedAt = { a: 1_000, b: 2_000, c: 2_000, d: 3_000 }[frame] ?? 0;
      return { taskId: `${frame}_group${group}`, capturedAt, ...rest };
    }),
  );

const inOrder = (made: readonly MadeResult[]): CameraState =>
  made.map((one) => resultOf(one)).reduce((state, result) => takeIn(state, result), EMPTY);

test("any order of arrival ends in the same state", () => {
  const orders = results.chain((made) =>
    fc.tuple(fc.constant(made), fc.shuffledSubarray(made, { minLength: made.length })),
  );
  fc.assert(
    fc.property(orders, ([made, shuffled]) => {
      const [one, other] = [inOrder(made), inOrder(shuffled)].map((state) => riskOf("north-gate", state));
      expect(other).toEqual(one);
    }),
  );
});

test("the worst verdict of the newest judged frame stands, each group by its highest revision", () => {
  fc.assert(
    fc.property(results, (made) => {
      const judged = made.filter(({ outcome }) => outcome === "assessed" || outcome === "reused");
      const frames = judged.map(({ taskId, capturedAt = 0 }) => ({ frame: taskId[0] ?? "", capturedAt }));
      const newest = frames.toSorted((a, b) => b.capturedAt - a.capturedAt || (a.frame < b.frame ? 1 : -1))[0];
      const latest = new Map<string, MadeResult>();
      for (const one of judged.filter(({ taskId }) => taskId[0] === newest?.frame)) {
        if ((one.revision ?? 1) > (latest.get(one.taskId)?.revision ?? 0)) latest.set(one.taskId, one);
      }
      const levels = [...latest.values()].map(({ riskLevel = "none" }) => RISK_LEVELS.indexOf(riskLevel));
      const risk = riskOf("north-gate", inOrder(made));
      expect(risk.riskLevel).toBe(levels.length === 0 ? null : RISK_LEVELS[Math.max(...levels)]);
      expect(risk.capturedAtMs).toBe(newest?.capturedAt ?? null);
    }),
  );
});

test("a task that ended without a verdict is counted and changes no risk", () => {
  const before = inOrder([{ taskId: "a_group1", riskLevel: "high", capturedAt: 1_000 }]);
  for (const outcome of ["failed", "expired", "superseded"] as const) {
    const after = takeIn(before, resultOf({ taskId: "b_group1", outcome, capturedAt: 2_000 }));
    expect(riskOf("c", after)).toMatchObject({
      riskLevel: "high",
      capturedAtMs: 1_000,
      counts: { assessed: 1, [outcome]: 1 },
    });
  }
});

test("a retry by hand moves its group from failed to its new outcome", () => {
  const state = inOrder([
    { taskId: "a_group1", outcome: "failed", capturedAt: 1_000 },
    { taskId: "a_group1", outcome: "assessed", revision: 2, riskLevel: "medium", capturedAt: 1_000 },
  ]);
  expect(riskOf("c", state)).toMatchObject({ riskLevel: "medium", counts: { failed: 0, assessed: 1 } });
});
