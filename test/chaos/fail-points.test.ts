/**
 * kill -9 before and after every script on a task's path, under load: before it runs, or after it ran but before its
 * answer arrived. Each group is assessed exactly once all the same, and counted and shown once.
 * In short mode the moments at which most is at stake; VIGILANE_LONG=1: every point, three rounds.
 */
import { existsSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { startWorld, type World } from "../support/world.ts";

const LONG = process.env.VIGILANE_LONG === "1";

/**
 * The scripts that the roles run on the path of a task and beside it, and whose. Not in its order: the roles take turns,
 * since the supervisor gives up one that dies at once again and again. Third: the one moment that is tried in short mode, if any.
 */
const PATH = [
  ["topics/redis-hand-out.lua", "bridge", undefined],
  ["queues/spend.lua", "worker", "after"],
  ["queues/admit.lua", "bridge", "after"],
  ["results/record-result.lua", "results", "after"],
  ["topics/redis-settle.lua", "bridge", undefined],
  ["queues/settle.lua", "worker", "after"],
  ["queues/take.lua", "bridge", "after"],
  ["gateway/acknowledge-shown.lua", "gateway", "before"],
  ["bullmq/addStandardJob", "bridge", "before"],
  ["bullmq/moveToFinished", "worker", "before"],
  ["topics/outbox-transfer.lua", "bridge", "after"],
  ["topics/redis-settle.lua", "results", undefined],
  ["queues/sweep.lua", "bridge", undefined],
  ["queues/mark-queued.lua", "bridge", undefined],
] as const;
const BOTH = ["before", "after"] as const;
const POINTS = PATH.flatMap(([script, role, one]) =>
  (LONG ? BOTH : one ? [one] : []).map((when) => ({ script, role, when })),
);
/** A life shorter than this counts, at the supervisor, as a death at once: five in a row, and the role is given up. */
const EARLY_DEATH_MS = 5_000;
const MOST_EARLY_DEATHS = 3;
/** The heartbeats let us know of a new process; all points are passed within their load in much less. */
const POINT_WITHIN_MS = 20_000;

let world: World | undefined;
afterEach(() => world?.stop());

test.runIf(existsSync("/proc/self/net/tcp"))(
  "killed before and after every step of a task's life, each group is assessed, counted and shown exactly once",
  { timeout: LONG ? 900_000 : 180_000 },
  async () => {
    const here = await startWorld({ proxy: true });
    world = here;
    const offering = here.offer({ groupsPerSecond: LONG ? 25 : 10 });
    await here.nextResult();
    const early = new Map<string, number>();
    for (let round = 0; round < (LONG ? 3 : 1); round++) {
      for (const { script, role, when } of POINTS) {
        const { pid, startedAtMs } = await here.role(role);
        const leftMs = startedAtMs + EARLY_DEATH_MS - Date.now();
        const deaths = leftMs > 0 ? (early.get(role) ?? 0) + 1 : 0;
        if (deaths > MOST_EARLY_DEATHS) await new Promise((resolve) => setTimeout(resolve, leftMs));
        early.set(role, deaths > MOST_EARLY_DEATHS ? 0 : deaths);
        const struck = here.proxy?.stopAt({ script, when, pid }, () => process.kill(pid, "SIGKILL"));
        await within(POINT_WITHIN_MS, `${when} ${script} of the ${role}`, struck);
        await here.role(role, pid);
        await here.nextResult();
      }
    }
    const ids = await offering.end();
    const { lost, doubled, results } = await here.settled(ids, 60_000);
    expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
    const others = results.filter((result) => result.outcome !== "assessed");
    expect(others.map((result) => [result.taskId, result.outcome, result.error])).toEqual([]);
    expect(await here.countedByResults(ids.length)).toBe(ids.length);
    await expect.poll(async () => (await here.shown()).length, { timeout: 20_000 }).toBeGreaterThanOrEqual(ids.length);
    expect((await here.shown()).toSorted()).toEqual(ids.toSorted());
    console.log(`${ids.length} groups through ${POINTS.length} fail points`);
  },
);

async function within(ms: number, what: string, work: Promise<void> | undefined): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  await Promise.race([work, promise]).finally(() => clearTimeout(timer));
}
