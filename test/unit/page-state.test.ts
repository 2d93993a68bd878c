/** What arrives and how the page keeps it: the pure part of the page. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { applyInbox, applySnapshot, emptyInbox, mergeOutcomes, NOTHING_YET } from "../../dashboard/src/live/state.ts";
import { cameraLook } from "../../dashboard/src/look/camera-look.ts";
import { labelSides } from "../../dashboard/src/map/label-sides.ts";
import { camera, outcome, SCENES } from "../support/page-scenes.ts";

test("a flood of harmless outcomes never pushes out the last hundred risky ones", () => {
  const risky = Array.from({ length: 120 }, (_, i) => outcome({ level: "high", agoMs: 1_000_000 + i }));
  const flood = Array.from({ length: 500 }, (_, i) => outcome({ level: "none", agoMs: i }));
  const kept = mergeOutcomes(risky, flood);
  expect(kept.filter(({ result }) => result.results[0]?.riskLevel === "high")).toHaveLength(100);
  expect(kept.length).toBeLessThanOrEqual(300);
});

test("one entry for each task, its newest revision, newest first, in whatever order they come", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          task: fc.integer({ min: 1, max: 5 }),
          revision: fc.integer({ min: 1, max: 3 }),
          agoMs: fc.integer({ min: 0, max: 9_999 }),
        }),
        { maxLength: 30 },
      ),
      (told) => {
        const events = told.map(({ task, revision, agoMs }) => outcome({ taskId: `t${task}`, revision, agoMs }));
        const kept = mergeOutcomes([], events);
        expect(new Set(kept.map(({ result }) => result.taskId)).size).toBe(kept.length);
        for (const { result } of kept) {
          const revisions = events.filter((e) => e.result.taskId === result.taskId).map((e) => e.result.revision);
          expect(result.revision).toBe(Math.max(...revisions));
        }
        const times = kept.map(({ shownAtMs }) => shownAtMs);
        expect(times).toEqual([...times].sort((a, b) => b - a));
      },
    ),
  );
});

test("an event that says nothing of a camera's status or risk leaves it; an older risk never stands over a newer one", () => {
  const data = applySnapshot(NOTHING_YET, SCENES.busy().snapshot, 0);
  const { status, risk, cameraId } = camera(1, { riskLevel: "high", capturedAtMs: Date.now() + 10 }).event;
  const raised = applyInbox(data, { ...emptyInbox(), cameras: [{ cameraId, status: null, risk }] }, 42);
  expect(raised.cameras[cameraId]?.status).toEqual(data.cameras[cameraId]?.status);
  expect(raised.raisedAtMs).toEqual({ [cameraId]: 42 });
  const older = camera(1, { riskLevel: "none", capturedAtMs: 5 }).event;
  const after = applyInbox(raised, { ...emptyInbox(), cameras: [older, { cameraId, status, risk: null }] }, 43);
  expect(after.cameras[cameraId]?.risk?.riskLevel).toBe("high");
  expect(after.raisedAtMs).toEqual({ [cameraId]: 42 }); // still the same high: it is not new again
});

test("a camera is never shown by an old verdict, nor as without risk when nothing was judged", () => {
  const nowMs = Date.now();
  const look = (event: ReturnType<typeof camera>["event"], live = true) => cameraLook(event, live, nowMs).look;
  expect(look(camera(0, { riskLevel: "high", completedAtMs: nowMs - 1_000 }).event)).toBe("high");
  expect(look(camera(0, { riskLevel: "high", completedAtMs: nowMs - 1_000 }).event, false)).toBe("away");
  expect(look(camera(0, { riskLevel: "none", completedAtMs: nowMs - 60_000 }).event)).toBe("away");
  expect(look(camera(0, { riskLevel: "none" }, { state: "offline" }).event)).toBe("away");
  expect(look(camera(0, { riskLevel: null, outcome: "expired", completedAtMs: null }).event)).toBe("unknown");
});

test("labels take another side rather than each other's place", () => {
  const frame = { width: 900, height: 400 };
  expect(labelSides([{ x: 400, y: 200 }], frame)).toEqual(["below"]);
  expect(labelSides([{ x: 400, y: 390 }], frame)).toEqual(["above"]); // no room below
  const [first, second] = labelSides(
    [
      { x: 400, y: 200 },
      { x: 420, y: 235 },
    ],
    frame,
  );
  expect([first, second]).not.toEqual(["below", "below"]);
});
