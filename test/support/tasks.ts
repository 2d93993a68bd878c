/** Tasks and key groups for tests: small, readable, distinct. */
import type { AssessmentTask } from "../../src/messages.ts";
import type { KeyGroup } from "../../src/queues/key-groups.ts";
import type { CallSays } from "../../src/queues/quota.ts";
import type { Arrival } from "../../src/queues/waiting-room.ts";

let made = 0;

/** A task of its own scene (no two share a track or a place) unless told otherwise. */
export function aTask(over: Partial<AssessmentTask> = {}): AssessmentTask {
  made += 1;
  const x = (made * 97) % 5000;
  const taskId = over.taskId ?? `message-${made}_group1`;
  return {
    taskId,
    requestId: taskId.replace(/_group.*$/, ""),
    cameraId: "north-gate",
    timestamp: "2026-01-01T00:00:00.000Z",
    groupIndex: 1,
    imageUrl: null,
    imageHash: null,
    objects: [{ class: "car", confidence: 0.9, bbox: [x, 10, x + 50, 60], trackId: made * 10 }],
    memberIndices: [0],
    bbox: [x, 10, x + 50, 60],
    imageWidth: 640,
    imageHeight: 360,
    features: null,
    score: 0.3,
    capturedAtMs: Date.now(),
    detectedAtMs: Date.now(),
    freshnessSeconds: 10,
    reuseSeconds: 0,
    ...over,
  };
}

export function anArrival(over: Partial<AssessmentTask> = {}, more: Partial<Arrival> = {}): Arrival {
  const task = aTask(over);
  return { task, messageId: task.requestId, order: "", ...more };
}

export function aKeyGroup(over: Partial<KeyGroup> = {}): KeyGroup {
  const id = over.id ?? "group-a";
  return {
    id,
    provider: "simulated",
    baseUrl: "http://127.0.0.1:9/v1",
    model: "simulated-vision",
    account: id,
    windows: [{ name: "requestsPerSecond", limit: 5, windowMs: 1_000 }],
    maxConcurrent: 0,
    keys: [{ id: "key-1", secret: "sim-key-1", weight: 1 }],
    strategy: "round_robin",
    weight: 1,
    price: null,
    region: null,
    quality: 3,
    capabilities: { jsonObject: false, jsonSchema: false },
    refusedCallsCount: false,
    simulated: true,
    ...over,
  };
}

/** What a call says that makes its group rest, or its key be refused. */
export const coolsGroup = (ms: number): CallSays => ({
  group: { kind: "limited", rest: { kind: "fixed", ms, varies: false } },
  key: { kind: "innocent" },
  cools: "group",
});
export const refusesKey = (firstMs: number): CallSays => ({
  group: { kind: "returned" },
  key: { kind: "refused", firstMs, untilInMs: null },
  cools: "key",
});

export const LIVES = { recordMs: 3_600_000, failedRecordMs: 86_400_000, imageMs: 3_600_000 };
