/**
 * Readers that keep a place of their own in a stream, over a store that came back without the stream's tail and with its
 * clock set back: what is appended then has smaller ids than what they had read, and is read all the same.
 */
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { createRecentOutcomes } from "../../src/gateway/recent-outcomes.ts";
import type { AssessmentResult } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { createTotalsReader } from "../../src/results/follow-totals.ts";
import { quiet } from "../support/gateway.ts";
import { startRedis } from "../support/redis.ts";
import { resultOf } from "../support/results.ts";

const AHEAD_MS = 3_600_000;

async function setUp() {
  const store = await startRedis({ appendfsync: "everysec" });
  const redis = new Redis(store.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  redis.on("error", () => {});
  onTestFinished(() => redis.disconnect());
  const append = (id: string, result: AssessmentResult) =>
    redis.xadd(KEYS.events, id, "type", "outcome", "json", JSON.stringify(result));
  /** Loses what `lost` writes. */
  const forget = async (lost: () => Promise<void>) => {
    const written = store.written();
    await lost();
    await store.dieAsOf(written);
    await store.restart();
    await redis.ping();
  };
  return { redis, append, forget };
}

test("the newest outcomes: what comes after the loss is seen, and a task that was ended anew shows its later end", async () => {
  const { redis, append, forget } = await setUp();
  const outcomes = createRecentOutcomes(redis, quiet);
  const first = resultOf({ taskId: "kept" });
  await append("*", first);
  await outcomes.catchUp();
  const ended = (riskLevel: "low" | "high", completedAt: number) => {
    const result = resultOf({ taskId: "anew" });
    const [entry] = result.results;
    if (!entry) throw new Error("no verdict");
    const metadata = { ...result.metadata, timings: { ...result.metadata.timings, completedAt } };
    return { ...result, results: [{ ...entry, riskLevel }], metadata };
  };
  await forget(async () => {
    await append(`${Date.now() + AHEAD_MS}-1`, ended("low", 1_000));
    await outcomes.catchUp();
    expect(outcomes.newest(9).map(({ result }) => result.taskId)).toEqual(["anew", "kept"]);
  });
  await outcomes.catchUp(); // as every second
  await append("*", ended("high", 2_000));
  await outcomes.catchUp();
  const shown = outcomes.newest(9).map(({ result }) => [result.taskId, result.results[0]?.riskLevel]);
  expect(shown).toEqual([
    ["anew", "high"],
    ["kept", first.results[0]?.riskLevel],
  ]);
});

test("the totals: what comes after the loss counts", async () => {
  const { redis, append, forget } = await setUp();
  const totals = createTotalsReader(redis, async () => ({ waiting: 0, moving: 0, calling: 0 }));
  await append("*", resultOf({ taskId: "kept" }));
  expect((await totals.read()).coverage).toBe(1);
  await forget(async () => {
    await append(`${Date.now() + AHEAD_MS}-1`, resultOf({ taskId: "forgotten" }));
    expect((await totals.read()).coverage).toBe(1);
  });
  await totals.read(); // as every second
  await append("*", { ...resultOf({ taskId: "later" }), outcome: "expired", results: [] });
  expect((await totals.read()).coverage).toBeCloseTo(2 / 3);
});
