/** What many roles say of their topics, put together for people. */
import { expect, test } from "vitest";
import { ERRORS } from "../../src/errors.ts";
import type { RoleHealth, TopicTrouble } from "../../src/events.ts";
import { healthOf } from "../../src/gateway/system-watch.ts";
import { detectionsToPublish, resultsToPublish, topicsHealth } from "../../src/gateway/topics-health.ts";

const trouble = (code: string, sinceMs: number): TopicTrouble => ({
  ...{ code, sinceMs, message: `${code} at kafka-1:9092`, remedy: "mend it" },
});

const role = (name: string, over: Partial<RoleHealth> = {}): RoleHealth => ({
  ...{ role: name, instance: `${name}-1`, pid: 1, ready: true, detail: "", atMs: 10_000, startedAtMs: 0, rssMb: 1 },
  ...{ topics: null, toPublish: null, ...over },
});

const UP = { store: "up", storeInMemory: false } as const;

test("nobody in trouble: nothing is said", () => {
  expect(topicsHealth([role("bridge"), role("worker")])).toBeNull();
  expect(healthOf([role("bridge")], ["bridge"], UP)).toMatchObject({ ok: true, problems: [], topics: null });
});

test("one of several detectors is in trouble: it is said, and the system is ready all the same", () => {
  const roles = [role("detector", { topics: trouble("BROKER_LOGIN_FAILED", 5) }), role("detector"), role("bridge")];
  expect(healthOf(roles, ["bridge"], UP)).toMatchObject({
    ...{ ok: true, problems: [] },
    topics: {
      ...{ code: "BROKER_LOGIN_FAILED", title: "Kafka refuses the login", problem: null, sinceMs: 5 },
      noticed: [{ role: "detector", processes: 1, of: 2 }],
    },
  });
});

test("a role that is cut off is a problem: what most say, since the first of them, and no address in its words", () => {
  const roles = [
    role("results", { topics: trouble("BROKER_AWAY", 30) }),
    role("detector", { topics: trouble("BROKER_UNTRUSTED", 10) }),
    role("bridge", { topics: trouble("BROKER_AWAY", 20) }),
    role("worker"),
  ];
  const health = healthOf(roles, [], UP);
  const problem = "Kafka cannot be reached, as bridge, detector and results report";
  expect(health).toMatchObject({
    ok: false,
    problems: [problem],
    topics: { code: "BROKER_AWAY", sinceMs: 10, problem },
  });
  expect(health.topics?.message).toContain("kafka-1:9092");
  // Without the store nothing is known of it.
  expect(healthOf([], [], { ...UP, store: "away" }).topics).toBeNull();
});

test("every trouble that a broker can be in has words of its own", () => {
  const codes = Object.keys(ERRORS).filter((code) => code.startsWith("BROKER_") && code !== "BROKER_FAILED");
  const titles = codes.map((code) => topicsHealth([role("bridge", { topics: trouble(code, 0) })])?.title);
  expect(titles).not.toContain("Kafka is in trouble");
  expect(new Set(titles).size).toBe(codes.length);
});

test("detections are those of all detectors; results are in one outbox, whoever has counted them", () => {
  const of = (waiting: number, dropped = 0, paused = false) => ({ waiting, most: 60, dropped, paused });
  const roles = [
    role("detector", { toPublish: of(4, 3) }),
    role("detector", { toPublish: of(5, 1) }),
    role("bridge", { toPublish: of(40, 0, true), atMs: 1 }),
    role("bridge", { toPublish: of(42), atMs: 2 }),
  ];
  expect(detectionsToPublish(roles)).toEqual({ waiting: 9, most: 120, dropped: 4, paused: false });
  expect(resultsToPublish(roles)).toEqual({ waiting: 42, most: 60, dropped: 0, paused: true });
  expect(healthOf(roles, [], UP).problems).toEqual([expect.stringContaining("no new detections are admitted")]);
  expect([detectionsToPublish([]), resultsToPublish([])]).toEqual([null, null]);
});
