/**
 * kill -9 before and after every script on a task's path, under load: before it runs, or after it ran but before its
 * answer arrived. Each group is assessed exactly once all the same. VIGILANE_LONG=1: every point, three rounds.
 */
import { afterEach, expect, test } from "vitest";
import { startWorld, type World } from "../support/world.ts";

const LONG = process.env.VIGILANE_LONG === "1";

/** The scripts on the path, in its order, and the role that runs them. */
const PATH = [
  ["queues/admit.lua", "bridge"],
  ["queues/take.lua", "bridge"],
  ["queues/spend.lua", "worker"],
  ["queues/settle.lua", "worker"],
  ["topics/outbox-transfer.lua", "bridge"],
] as const;
const POINTS = PATH.flatMap(([script, role]) => (["before", "after"] as const).map((when) => ({ script, role, when })));

let world: World | undefined;
afterEach(() => world?.stop());

test("killed before and after every step of a task's life, each group is assessed exactly once", async () => {
  const here = await startWorld({ proxy: true });
  world = here;
  const offering = here.offer({ groupsPerSecond: 25 });
  await here.nextResult();
  for (let round = 0; round < (LONG ? 3 : 1); round++) {
    for (const { script, role, when } of POINTS) {
      const { pid } = await here.role(role);
      await here.proxy?.stopAt(script, when, () => process.kill(pid, "SIGKILL"));
      await here.role(role, pid);
      await here.nextResult();
    }
  }
  const ids = await offering.end();
  const { lost, doubled, results } = await here.settled(ids, 60_000);
  expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
  const others = results.filter((result) => result.outcome !== "assessed");
  expect(others.map((result) => [result.taskId, result.outcome, result.error])).toEqual([]);
  console.log(`${ids.length} groups through ${POINTS.length} fail points`);
});
