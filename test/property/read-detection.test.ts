import fc from "fast-check";
import { expect, test } from "vitest";
import { groupToTaskMessage } from "../../src/bridge/group-to-task-message.ts";
import { groupsToTasks } from "../../src/bridge/groups-to-tasks.ts";
import { outcomeToResult } from "../../src/bridge/outcome-to-result.ts";
import { readDetection } from "../../src/bridge/read-detection.ts";
import { readTask } from "../../src/bridge/read-task.ts";
import { AssessmentResult, OUTCOMES, TaskMessage } from "../../src/messages.ts";
import { contentHash } from "../../src/queues/waiting-room.ts";

const place = { topic: "t", shard: 0, position: "1-0", appendedAtMs: 1_000, headers: {} };

test("any bytes are either a detection or unreadable; they never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), (bytes) => {
      for (const read of [readDetection, readTask])
        expect(["detection", "unreadable"]).toContain(read(Buffer.from(bytes)).kind);
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

test("a group that goes by the topic of tasks is the same task as one that does not: id, and all that it is known again by", () => {
  const bbox = fc.tuple(fc.integer(), fc.integer(), fc.integer(), fc.integer());
  const object = fc.oneof(
    fc.record({
      class: fc.string(),
      confidence: fc.double({ min: 0, max: 1, noNaN: true }),
      bbox,
      level: fc.constant(0),
    }),
    fc.record({ class: fc.string(), confidence: fc.constant(1), bbox, trackId: fc.nat() }),
    fc.constant(null),
  );
  const group = fc.record({
    ...{ groupIndex: fc.integer({ min: 0, max: 3 }), objectCount: fc.nat(), bbox, classes: fc.array(fc.string()) },
    ...{ averageConfidence: fc.constant(0.5), memberIndices: fc.array(fc.integer({ min: -1, max: 8 })) },
  });
  const policy = { freshnessSeconds: 10, reuseSeconds: 0 };
  fc.assert(
    fc.property(
      fc.array(object, { maxLength: 6 }),
      fc.array(group, { maxLength: 4 }),
      (detectedObjects, trafficGroups) => {
        const message = { messageId: "m", cameraId: 1, timestamp: "t", imageWidth: 9, imageHeight: 8 };
        const reading = readDetection(Buffer.from(JSON.stringify({ ...message, detectedObjects, trafficGroups })));
        if (reading.kind === "unreadable") throw new Error(reading.why);
        for (const [i, { task }] of groupsToTasks(reading.detection, place, policy).tasks.entries()) {
          const entry = reading.detection.groups[i];
          if (!entry) throw new Error("there is a task for each group");
          const handed = groupToTaskMessage(reading.detection, entry, task);
          const back = readTask(Buffer.from(JSON.stringify(TaskMessage.parse(handed))));
          if (back.kind === "unreadable") throw new Error(back.why);
          const [again] = groupsToTasks(back.detection, { ...place, topic: "other", position: "2-0" }, policy).tasks;
          expect(again?.task).toEqual(task);
          expect(contentHash({ task: again?.task ?? task })).toBe(contentHash({ task }));
        }
      },
    ),
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
