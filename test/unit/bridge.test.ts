import { describe, expect, test } from "vitest";
import { groupsToTasks, type Place } from "../../src/bridge/groups-to-tasks.ts";
import { outcomeToResult } from "../../src/bridge/outcome-to-result.ts";
import { readDetection } from "../../src/bridge/read-detection.ts";
import { AssessmentResult } from "../../src/messages.ts";

const place: Place = {
  topic: "detection-results",
  shard: 3,
  position: "17-0",
  appendedAtMs: Date.parse("2026-01-01T00:00:05.000Z"),
  headers: {},
};
const jpeg = Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]).toString("base64");
const group = (over: object = {}) => ({
  groupIndex: 1,
  objectCount: 2,
  bbox: [0, 0, 10, 10],
  classes: ["car"],
  averageConfidence: 0.5,
  memberIndices: [0, 1],
  ...over,
});
const message = (over: object = {}) => ({
  messageId: "m",
  cameraId: 7,
  timestamp: "2026-01-01T00:00:04.123456Z",
  imageWidth: 640,
  imageHeight: 360,
  detectedObjects: [
    { class: "car", confidence: 0.9, bbox: [0, 0, 5, 5], level: 0 },
    { class: "person", confidence: 0.8, bbox: [5, 5, 10, 10], level: 0 },
  ],
  trafficGroups: [group()],
  groupImages: [{ groupIndex: 1, imageBase64: jpeg, dataUri: `data:image/jpeg;base64,${jpeg}` }],
  ...over,
});
const read = (value: object | string) =>
  readDetection(Buffer.from(typeof value === "string" ? value : JSON.stringify(value)));
function tasksOf(value: object | string, at = place) {
  const reading = read(value);
  if (reading.kind === "unreadable") throw new Error(reading.why);
  return groupsToTasks(reading.detection, at, { freshnessSeconds: 10, reuseSeconds: 0 }).tasks;
}

describe("reading a detection", () => {
  test.each([
    ["no JSON", "{"],
    ["no object", "[1]"],
    ["no camera", JSON.stringify(message({ cameraId: null }))],
    ["no list of groups", JSON.stringify(message({ trafficGroups: undefined, groupImages: [] }))],
  ])("%s: unreadable, with the reason", (_what, text) => {
    expect(read(text)).toMatchObject({ kind: "unreadable", why: expect.stringMatching(/./) });
  });

  test("a bad group fails alone, its neighbours live", () => {
    const tasks = tasksOf(
      message({
        trafficGroups: [group({ bbox: "wide" }), group({ groupIndex: 2 })],
        groupImages: [1, 2].map((groupIndex) => ({ groupIndex, imageBase64: jpeg })),
      }),
    );
    expect(tasks.map(({ task, failed }) => [task.taskId, failed?.code])).toEqual([
      ["m_group1", "GROUP_UNREADABLE"],
      ["m_group2", undefined],
    ]);
  });

  test("NaN and Infinity become null; in texts they stay", () => {
    const text = JSON.stringify(message({ note: "NaN, Infinity" }))
      .replace('"confidence":0.9', '"confidence":NaN')
      .replace('"imageWidth":640', '"imageWidth":-Infinity');
    const reading = read(text);
    expect(reading).toMatchObject({
      kind: "detection",
      detection: { imageWidth: 0, objects: [null, { class: "person" }] },
    });
  });

  test("deep nesting and lone surrogates neither throw nor hang", () => {
    expect(read("[".repeat(20_000)).kind).toBe("unreadable");
    expect(read(`${"[".repeat(20_000)}${"]".repeat(20_000)}`).kind).toBe("unreadable");
    expect(read(JSON.stringify(message({ messageId: "\ud800" }))).kind).toBe("detection");
  });
});

describe("groups to tasks", () => {
  test("images: inline with and without prefix, missing, no picture, foreign address, our own reference", () => {
    const image = (entry: object) => tasksOf(message({ groupImages: [{ groupIndex: 1, ...entry }] }))[0];
    expect(image({ imageBase64: jpeg })?.inlineImage).toHaveLength(7);
    expect(image({ imageBase64: `data:image/jpeg;base64,${jpeg}` })?.inlineImage).toHaveLength(7);
    expect(image({})?.failed?.code).toBe("IMAGE_MISSING");
    expect(image({ imageBase64: "AAAA" })?.failed?.code).toBe("IMAGE_UNREADABLE");
    expect(image({ imageUrl: "http://169.254.169.254/latest" })?.failed?.code).toBe("IMAGE_FOREIGN");
    expect(image({ imageUrl: "vigilane:images/../../etc/passwd" })?.failed?.code).toBe("IMAGE_FOREIGN");
    expect(image({ imageUrl: "vigilane:images/a/2026010100/x.jpg" })?.task.imageUrl).toBe(
      "vigilane:images/a/2026010100/x.jpg",
    );
  });

  test("a repeated groupIndex gets an id of its own; without messageId the place names it", () => {
    const tasks = tasksOf(message({ messageId: undefined, trafficGroups: [group(), group()] }));
    expect(tasks.map(({ task }) => task.taskId)).toEqual([
      "detection-results-3-17-0_group1",
      "detection-results-3-17-0_group1_2",
    ]);
  });

  test("members only, without those out of range or unreadable", () => {
    const [one] = tasksOf(message({ trafficGroups: [group({ memberIndices: [1, 99, 0] })] }));
    expect(one?.task.objects.map((object) => object.class)).toEqual(["person", "car"]);
  });

  test("a capture time far from the append is not believed", () => {
    const captured = (over: object) => tasksOf(message(over))[0]?.task.capturedAtMs;
    expect(captured({ capturedAt: "2026-01-01T00:00:03.500Z" })).toBe(Date.parse("2026-01-01T00:00:03.500Z"));
    expect(captured({})).toBe(Date.parse("2026-01-01T00:00:04.123Z"));
    for (const timestamp of ["2026-01-01T08:00:05.000Z", "2025-12-31T16:00:05.000Z", "soon"])
      expect(captured({ timestamp })).toBe(place.appendedAtMs);
  });
});

test("members are counted once, and what other producers add to objects is left out", () => {
  const [one] = tasksOf(message({ trafficGroups: [group({ memberIndices: [1, 1, 1, 0] })] }));
  expect(one?.task.memberIndices).toEqual([1, 0]);
  expect(one?.task.objects).toEqual([
    { class: "person", confidence: 0.8, bbox: [5, 5, 10, 10] },
    { class: "car", confidence: 0.9, bbox: [0, 0, 5, 5] },
  ]);
});

test("an outcome becomes a message that older consumers can read", () => {
  const [one] = tasksOf(message());
  const fields = {
    id: "m_group1",
    outcome: "failed",
    revision: 2,
    attempts: 3,
    task: JSON.stringify(one?.task),
    verdict: "",
    error: '{"code":"X","message":"y"}',
    meta: "",
    keyGroup: "",
    key: "",
    admittedAt: "1",
    takenAt: "",
    startedAt: "",
    completedAt: 5,
  } as const;
  const result = outcomeToResult({ ...fields }, 9);
  expect(AssessmentResult.parse(result)).toEqual(result);
  expect(result).toMatchObject({
    messageId: "m_group1_result_2",
    cameraId: 7,
    timestamp: "2026-01-01T00:00:04.123456Z",
    results: [],
    metadata: {
      llmLatency: 0,
      llmModel: "",
      apiKeyId: null,
      retryCount: 2,
      timings: { completedAt: 5, publishedAt: 9 },
    },
  });
});
