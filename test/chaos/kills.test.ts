/**
 * Whatever dies, every group is assessed exactly once. Under 25 groups a second, with freshness 0 (nothing may expire).
 * VIGILANE_LONG=1: more kills.
 */
import { afterEach, describe, expect, test } from "vitest";
import { startWorld, type World, type WorldOptions } from "../support/world.ts";

const LONG = process.env.VIGILANE_LONG === "1";
const ROUNDS = LONG ? 10 : 2;
/** Work resumes within 10 s; a test allows three times that. */
const RESUMES_WITHIN_MS = 30_000;
/** All that was offered must have ended so long after the last disturbance. */
const SETTLES_WITHIN_MS = 60_000;

let world: World | undefined;
afterEach(async () => {
  await world?.stop();
  world = undefined;
});

async function start(options: WorldOptions = {}): Promise<World> {
  world = await startWorld(options);
  return world;
}

/** Runs `disturb` in the middle of an offer, and tells how long after each the first call was begun that led to a result. */
async function underLoad(here: World, times: number, disturb: (nth: number) => Promise<void>) {
  const offering = here.offer({ groupsPerSecond: 25 });
  await here.nextResult();
  const gapsMs: number[] = [];
  for (let nth = 0; nth < times; nth++) {
    const disturbedAtMs = Date.now();
    await disturb(nth);
    let startedAt = 0;
    while (startedAt <= disturbedAtMs) startedAt = (await here.nextResult()).metadata.timings.startedAt ?? 0;
    gapsMs.push(Math.round(startedAt - disturbedAtMs));
    for (let more = 0; more < 25; more++) await here.nextResult(); // back to full load before the next
  }
  const ids = await offering.end();
  return { ids, gapsMs, ...(await here.settled(ids, SETTLES_WITHIN_MS)) };
}

async function expectEachAssessedOnce(
  here: World,
  { ids, lost, doubled, results, gapsMs }: Awaited<ReturnType<typeof underLoad>>,
) {
  expect(lost).toEqual([]);
  expect(doubled).toEqual([]);
  const others = results.filter((result) => result.outcome !== "assessed");
  expect(others.map((result) => [result.taskId, result.outcome, result.error])).toEqual([]);
  expect(results).toHaveLength(ids.length);
  expect(await here.countedByResults(ids.length)).toBe(ids.length);
  for (const gapMs of gapsMs) expect(gapMs).toBeLessThan(RESUMES_WITHIN_MS);
}

describe("kill -9", () => {
  const roles = ["bridge", "worker", "provider", "results", "gateway"];

  test("of each role in turn", async () => {
    const here = await start({ roles: roles.join(","), provider: "supervised" });
    const outcome = await underLoad(here, roles.length * ROUNDS, async (nth) => {
      const name = roles[nth % roles.length] ?? "";
      const { pid } = await here.role(name);
      process.kill(pid, "SIGKILL");
      await here.role(name, pid);
    });
    await expectEachAssessedOnce(here, outcome);
    console.log(
      `${outcome.ids.length} groups; next call after killing ${roles.join(", ")}: ${outcome.gapsMs.join(", ")} ms`,
    );
  });

  test("of the store, which comes back with everything", async () => {
    const here = await start();
    const outcome = await underLoad(here, ROUNDS, async () => {
      await here.store.kill("SIGKILL");
      await here.store.restart();
    });
    await expectEachAssessedOnce(here, outcome);
    console.log(`${outcome.ids.length} groups; next call after killing the store: ${outcome.gapsMs.join(", ")} ms`);
  });
});

test("a process stopped for longer than its locks, and woken", async () => {
  const roles = ["worker", "bridge", "results"];
  const here = await start();
  const outcome = await underLoad(here, LONG ? 6 : roles.length, async (nth) => {
    const { pid } = await here.role(roles[nth % roles.length] ?? "");
    process.kill(pid, "SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 7_000)); // longer than job locks (5 s), shard leases (3 s), held keys (4 s)
    process.kill(pid, "SIGCONT");
  });
  await expectEachAssessedOnce(here, outcome);
});
