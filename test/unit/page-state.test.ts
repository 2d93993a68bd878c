/** What arrives and how the page keeps it: the pure part of the page. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { refusalsByCause, standing, troubleFirst, windowName } from "../../dashboard/src/key-groups/key-group-look.ts";
import { applyInbox, applySnapshot, emptyInbox, mergeOutcomes, NOTHING_YET } from "../../dashboard/src/live/state.ts";
import { cameraLook } from "../../dashboard/src/look/camera-look.ts";
import { REASONS } from "../../dashboard/src/look/format.ts";
import { labelSides } from "../../dashboard/src/map/label-sides.ts";
import { REFUSAL_CAUSES } from "../../src/processors/refusal.ts";
import { camera, change, keyGroup, outcome, SCENES } from "../support/page-scenes.ts";

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

test("a cool-down's end does not jump with late events, follows an extension, and goes with the cool-down", () => {
  const cooling = (coolingLeftMs: number) => keyGroup(1, { state: "cooling", coolingLeftMs });
  const until = (data: typeof NOTHING_YET) => data.coolingUntilMs["sim-1"];
  const hear = (data: typeof NOTHING_YET, group: ReturnType<typeof keyGroup>, nowMs: number) =>
    applyInbox(data, { ...emptyInbox(), keyGroups: [group] }, nowMs);
  const first = hear(NOTHING_YET, cooling(10_000), 1_000);
  expect(until(first)).toBe(11_000);
  const late = hear(first, cooling(9_500), 2_900);
  expect(until(late)).toBe(11_000);
  const sooner = hear(late, cooling(7_000), 3_800);
  expect(until(sooner)).toBe(10_800);
  const extended = hear(sooner, cooling(60_000), 4_000);
  expect(until(extended)).toBe(64_000);
  expect(until(hear(extended, keyGroup(1), 5_000))).toBeUndefined();
});

test("changes of key groups: each once, newest first, the newest hundred", () => {
  const all = Array.from({ length: 130 }, (_, i) => ({ ...change(0), id: `${1_000 + i * 7}-0` }));
  const told = (list: typeof all) => ({ ...emptyInbox(), keyGroupChanges: list });
  const some = applyInbox(NOTHING_YET, told(all.slice(60).reverse()), 0);
  const { keyGroupChanges } = applyInbox(some, told(all.slice(0, 90)), 0);
  expect(keyGroupChanges.map(({ id }) => id)).toEqual(
    all
      .slice(30)
      .map(({ id }) => id)
      .reverse(),
  );
});

test("key groups in trouble come first, then by id; a call under way moves no row", () => {
  const groups = [
    keyGroup(10),
    keyGroup(2, { state: "available" }),
    keyGroup(3, { state: "cooling" }),
    keyGroup(4, { state: "disabled" }),
    keyGroup(5, { state: "unmanned" }),
    keyGroup(6, { keys: keyGroup(6).keys.map((key) => ({ ...key, state: "disabled" as const })) }),
    keyGroup(1),
  ];
  const order = troubleFirst(groups).map(({ id }) => id);
  expect(order).toEqual(["sim-4", "sim-5", "sim-3", "sim-6", "sim-1", "sim-2", "sim-10"]);
  expect(standing(groups)).toBe("7 groups: 1 disabled, 1 no worker, 1 cooling");
});

test("windows are named by their span, whose they are and what they count", () => {
  const calls = { limit: 1, used: 0, unit: "requests", kind: "sliding" } as const;
  const named = (name: string, windowMs: number, more = {}) => windowName({ name, windowMs, ...calls, ...more });
  expect(named("requestsPerSecond", 1_000)).toBe("1 s");
  expect(named("requestsPerMinute", 60_000, { kind: "fixed", unit: "requests" })).toBe("1 min");
  expect(named("tokensPerMinute", 60_000, { unit: "tokens" })).toBe("1 min tokens");
  expect(named("@callsPerDay", 86_400_000)).toBe("all, 1 d");
});

test("refusals are told by what the provider meant, and by their code where that is not known; the page has words for all", () => {
  expect(Object.keys(REASONS).toSorted()).toEqual([...REFUSAL_CAUSES].toSorted());
  const failures = { RATE_LIMITED: 9, QUOTA_EXHAUSTED: 3 };
  const refusals = { RATE_LIMITED: { tokens: 4, burst: 1 }, QUOTA_EXHAUSTED: { balance: 2, of_a_newer_worker: 1 } };
  expect(refusalsByCause({ failures, refusals }).map(({ words, n }) => `${n} ${words}`)).toEqual([
    "4 Rate limited",
    "4 Tokens",
    "2 Balance",
    "1 Burst",
    "1 Of a newer worker",
  ]);
  expect(refusalsByCause({ failures, refusals: undefined })).toHaveLength(2);
});
