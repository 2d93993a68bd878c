import { describe, expect, test } from "vitest";
import { ResultsSeen } from "../../src/commands/pipeline-results.ts";
import { planOf } from "../../src/commands/pipeline-test.ts";
import { faultsOf, type PipelineVerdict, showVerdict } from "../../src/commands/pipeline-verdict.ts";

const none = { p50: null, p95: null };
const well: Omit<PipelineVerdict, "faults" | "passed"> = {
  mode: "e2e",
  system: { topics: "redis", at: "127.0.0.1:6379", simulated: true, models: ["qwen"], rolesAbsent: null },
  seconds: 4,
  interrupted: false,
  ...{ asked: 10, sent: 10, refused: 0, unacknowledged: 0 },
  ...{ received: 10, receivedPerSecond: 2.5, cameras: 4, missing: 0, someMissing: [], duplicates: 0, unreadable: 0 },
  outcomes: { assessed: 9, reused: 0, failed: 0, expired: 1, superseded: 0 },
  errors: {},
  latencyMs: { accepted: none, roundTrip: { p50: 812.4, p95: 1_912 }, sinceCapture: none, llm: none },
};
const outcomes = (over: Partial<PipelineVerdict["outcomes"]>) => ({
  outcomes: { assessed: 0, reused: 0, failed: 0, expired: 0, superseded: 0, ...over },
});

describe("the verdict", () => {
  test("is well when each came back once and some were judged; a few that expired are overload, not a fault", () => {
    expect(faultsOf(well)).toEqual([]);
    expect(faultsOf({ ...well, ...outcomes({ reused: 1, superseded: 9 }) })).toEqual([]);
  });

  test.each<[Partial<PipelineVerdict>, string[]]>([
    [{ missing: 2 }, ["2 of 10 results are missing"]],
    [{ duplicates: 1 }, ["1 results came twice"]],
    [{ sent: 7, refused: 3 }, ["3 detections were refused"]],
    [{ sent: 7, unacknowledged: 3 }, ["3 detections were not accepted in time"]],
    [{ sent: 7, received: 7 }, ["interrupted: 3 of 10 detections were not sent"]],
    [{ ...outcomes({ expired: 9, superseded: 1 }) }, ["no group was judged in time: expired 9, superseded 1"]],
    [
      { ...outcomes({ assessed: 8, failed: 2 }), errors: { KEY_REJECTED: 2 } },
      ["2 groups could not be judged (KEY_REJECTED 2)"],
    ],
    [
      { missing: 10, received: 0, ...outcomes({}), system: { ...well.system, rolesAbsent: ["bridge", "worker"] } },
      ["no bridge is there", "no worker is there", "10 of 10 results are missing"],
    ],
    [{ mode: "consumer", received: 0 }, ["no result came"]],
    [{ mode: "consumer", duplicates: 1, ...outcomes({ failed: 10 }) }, []],
    [{ mode: "producer", received: 0, ...outcomes({}) }, []],
  ])("%j", (over, faults) => {
    expect(faultsOf({ ...well, ...over })).toEqual(faults);
  });

  test("is shown with what each mode has, and ends with a line for people", () => {
    const passed = showVerdict({ ...well, faults: [], passed: true });
    expect(passed).toMatch(/Redis Streams at 127.0.0.1:6379.*simulated, qwen.*P50 812.4 ms, P95 1.91 s.*Passed\.$/s);
    const failed = showVerdict({ ...well, mode: "producer", faults: ["a", "b"], passed: false });
    expect(failed).toMatch(/Failed: a; b\.$/);
    expect(failed).not.toMatch(/received|missing|LLM/);
  });
});

describe("results", () => {
  const message = (value: unknown) => ({ value: Buffer.from(JSON.stringify(value)) });
  const ours = {
    ...{ messageId: "d1_group1_result", taskId: "d1_group1", requestId: "d1", cameraId: "pipeline-test-001" },
    ...{ groupIndex: 1, outcome: "assessed", revision: 1, results: [{}] },
    metadata: { llmLatency: 0.5, llmModel: "m", simulated: true, timings: { capturedAt: 1_000 } },
  };

  test("count once; second ones, other detections' and what is no result apart", () => {
    const seen = new ResultsSeen((requestId) => requestId === "d1");
    expect(seen.take(message(ours), 3_000)).toBe("d1_group1");
    expect(seen.take(message(ours), 3_000)).toBeUndefined();
    expect(seen.take(message({ ...ours, requestId: "d2", taskId: "d2_group1" }), 3_000)).toBeUndefined();
    expect(seen.take({ value: Buffer.from("{") }, 3_000)).toBeUndefined();
    const { received, duplicates, unreadable, simulated } = seen;
    expect({ received, duplicates, unreadable, simulated }).toEqual({
      ...{ received: 1, duplicates: 1, unreadable: 1, simulated: true },
    });
    expect(seen.sinceCapture.quantile(0.5)).toBeCloseTo(2_000, -2);
  });

  test("of an older scheduler, without task id and outcome, are told by detection and group", () => {
    const seen = new ResultsSeen(() => true);
    const older = { messageId: "x", requestId: "d1", cameraId: 3, timestamp: "", groupIndex: 2, metadata: null };
    expect(seen.take(message({ ...older, results: [{ groupIndex: 2 }] }), 0)).toBe("d1_group2");
    expect(seen.take(message({ ...older, groupIndex: 3, results: [], error: "API timeout" }), 0)).toBe("d1_group3");
    expect(seen.take(message({ ...older, groupIndex: 4, results: [] }), 0)).toBe("d1_group4"); // it met only 429s
    expect(seen.outcomes).toMatchObject({ assessed: 1, failed: 2 });
    expect([...seen.errors]).toEqual([
      ["API timeout", 1],
      ["no reason given", 1],
    ]);
    expect(seen.simulated).toBeUndefined();
  });
});

describe("flags", () => {
  test("have the defaults that the help names", () => {
    const { seed, ...plan } = planOf({ own: {}, operands: [] });
    expect(plan).toEqual({ mode: "e2e", duration: 60, count: 10, timeout: 30, json: false });
    expect(seed).toBeGreaterThanOrEqual(0);
  });

  test.each([
    [{ mode: "both" }, /--mode = "both"/],
    [{ count: "0" }, /--count = "0": must be at least 1/],
    [{ count: "2.5" }, /--count = "2.5": must be a whole number/],
    [{ duration: "soon" }, /--duration = "soon": must be a number/],
    [{ timeout: "-1" }, /--timeout = "-1": must be at least 1/],
  ])("%j is refused", (own, why) => {
    expect(() => planOf({ own, operands: [] })).toThrow(why);
    expect(() => planOf({ own, operands: [] })).toThrow(/^1 setting is wrong:/);
    expect(() => planOf({ own, operands: ["more"] })).toThrow(/^2 settings are wrong:/);
  });
});
