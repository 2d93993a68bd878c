/**
 * Whatever dies, every group is assessed exactly once. Under 25 groups a second, with freshness 0 (nothing may expire).
 * VIGILANE_LONG=1: more kills.
 */
import { afterEach, describe, expect, test } from "vitest";
import { startWorld, type World } from "../support/world.ts";

const LONG = process.env.VIGILANE_LONG === "1";
const KILLS = LONG ? 6 : 2;
/** Work resumes within 10 s; a test allows three times that. */
const RESUMES_WITHIN_MS = 30_000;
/** All that was offered must have ended so long after the last disturbance. */
const SETTLES_WITHIN_MS = 60_000;

let world: World | undefined;
afterEach(async () => {
  await world?.stop();
  world = undefined;
});

async function start(): Promise<World> {
  world = await startWorld();
  return world;
}

/** Runs `disturb` in the middle of an offer, and tells how long after each the first call was begun that led to a result. */
async function underLoad(here: World, times: number, disturb: (nth: number) => Promise<void>) {
  const seconds = 8 + times * 6;
  const offering = here.offer({ groupsPerSecond: 25, seconds });
  await here.nextResult();
  const gapsMs: number[] = [];
  for (let nth = 0; nth < times; nth++) {
    const disturbedAtMs = Date.now();
    await disturb(nth);
    let startedAt = 0;
    while (startedAt <= disturbedAtMs) startedAt = (await here.nextResult()).metadata.timings.startedAt ?? 0;
    gapsMs.push(Math.round(startedAt - disturbedAtMs));
  }
  const ids = await offering;
  return { ids, gapsMs, ...(await here.settled(ids, SETTLES_WITHIN_MS)) };
}

function expectEachAssessedOnce({ ids, lost, doubled, results, gapsMs }: Awaited<ReturnType<typeof underLoad>>) {
  expect(lost).toEqual([]);
  expect(doubled).toEqual([]);
  expect(
    results
      .filter((result) => result.outcome !== "assessed")
      .map((result) => [result.taskId, result.outcome, result.error]),
  ).toEqual([]);
  expect(results).toHaveLength(ids.length);
  for (const gapMs of gapsMs) expect(gapMs).toBeLessThan(RESUMES_WITHIN_MS);
}

describe("kill -9", () => {
  test.each(["bridge", "worker", "results", "gateway"])("of the %s", async (name) => {
    const here = await start();
    const outcome = await underLoad(here, KILLS, async () => {
      const { pid } = await here.role(name);
      process.kill(pid, "SIGKILL");
      await here.role(name, pid);
    });
    expectEachAssessedOnce(outcome);
    console.log(`${name}: ${outcome.ids.length} groups, next call after ${outcome.gapsMs.join(", ")} ms`);
  });

  test("of the store, which comes back with everything", async () => {
    const here = await start();
    const outcome = await underLoad(here, KILLS, async () => {
      await here.store.kill("SIGKILL");
      await here.store.restart();
    });
    expectEachAssessedOnce(outcome);
    console.log(`store: ${outcome.ids.length} groups, next call after ${outcome.gapsMs.join(", ")} ms`);
  });
});

describe("stopped for longer than its locks, and woken", () => {
  test.each(["worker", "bridge", "results"])("the %s", async (name) => {
    const here = await start();
    const outcome = await underLoad(here, 1, async () => {
      const { pid } = await here.role(name);
      process.kill(pid, "SIGSTOP");
      await new Promise((resolve) => setTimeout(resolve, 12_000)); // longer than lock (5 s), shard lease (3 s) and held keys (4 s)
      process.kill(pid, "SIGCONT");
    });
    expectEachAssessedOnce(outcome);
  });
});
