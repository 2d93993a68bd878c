import fc from "fast-check";
import { expect, test } from "vitest";
import { groupsToTasks } from "../../src/bridge/groups-to-tasks.ts";
import { outcomeToResult } from "../../src/bridge/outcome-to-result.ts";
import { readDetection } from "../../src/bridge/read-detection.ts";
import { AssessmentResult, OUTCOMES } from "../../src/messages.ts";

const place = { topic: "t", shard: 0, position: "1-0", appendedAtMs: 1_000, headers: {} };

test("any bytes are either a detection or unreadable; they never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), (bytes) => {
      expect(["detection", "unreadable"]).toContain(readDetection(Buffer.from(bytes)).kind);
    }),
  );
});

test("whatever the groups hold: one task for each entry, ids all different", () => {
  const entry = fc.oneof(
    fc.json().map((text) => JSON.parse(text) as unknown),
    fc.record({
      groupIndex: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.string()),
      memberIndices: fc.array(fc.integer()),
      bbox: fc.array(fc.double()),
    }),
  );
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 8 }), fc.json(), (trafficGroups, objects) => {
      const reading = readDetection(
        Buffer.from(
          JSON.stringify({
            cameraId: "c",
            trafficGroups,
            detectedObjects: JSON.parse(objects) as unknown,
            groupImages: trafficGroups,
          }),
        ),
      );
      if (reading.kind === "unreadable") throw new Error(reading.why);
      const { tasks } = groupsToTasks(reading.detection, place, { freshnessSeconds: 10, reuseSeconds: 0 });
      expect(tasks).toHaveLength(trafficGroups.length);
      expect(new Set(tasks.map(({ task }) => task.taskId)).size).toBe(trafficGroups.length);
    }),
  );
});

test("whatever an entry of the outbox holds, it becomes a result that our own readers can read", () => {
  const text = fc.oneof(fc.string(), fc.json(), fc.constant("null"), fc.constant("[]"));
  const odd = fc.record({
    groupIndex: fc.oneof(fc.double(), fc.constant(1e300), fc.string()),
    cameraId: fc.oneof(fc.double(), fc.string()),
    taskId: fc.oneof(fc.string(), fc.integer()),
    bbox: fc.anything(),
    objects: fc.anything(),
  });
  const entry = fc.record({
    ...{
      id: fc.string({ minLength: 1 }),
      outcome: fc.constantFrom(...OUTCOMES),
      revision: fc.integer({ min: 1, max: 9 }),
    },
    ...{
      attempts: fc.nat(),
      task: fc.oneof(
        text,
        odd.map((value) => JSON.stringify(value) ?? ""),
      ),
      verdict: text,
      error: text,
      meta: text,
    },
    ...{
      keyGroup: fc.string(),
      key: fc.string(),
      admittedAt: text,
      takenAt: text,
      startedAt: text,
      completedAt: fc.nat(),
    },
  });
  fc.assert(
    fc.property(entry, (fields) => {
      const result = outcomeToResult(fields, 5);
      const read = AssessmentResult.safeParse(JSON.parse(JSON.stringify(result)));
      expect(read.error?.issues ?? []).toEqual([]);
      if (result.outcome === "assessed") expect(result.results).toHaveLength(1);
    }),
  );
});
