/**
 * Whatever dies, every group is assessed, counted and shown exactly once, and what the dead one did is soon done again.
 * Under 25 groups a second, with freshness 0 (nothing may expire). VIGILANE_LONG=1: more kills.
 */
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KEYS } from "../../src/names.ts";
import { OUTCOME_COUNTS } from "../../src/results/record-result.ts";
import { startWorld, type World } from "../support/world.ts";

const LONG = process.env.VIGILANE_LONG === "1";
const ROUNDS = LONG ? 10 : 2;
/** Work resumes within 10 s; a test allows three times that. */
const RESUMES_WITHIN_MS = 30_000;
/** All that was offered must have ended so long after the last disturbance. */
const SETTLES_WITHIN_MS = 60_000;
/** Longer than job locks (5 s), shard leases (3 s), held keys (4 s). */
const STOPPED_MS = 7_000;
/** What a process sent before its death, the store has run so long after it at the latest. */
const LAST_WORDS_MS = 100;

const ROLES = ["bridge", "worker", "provider", "results", "gateway"] as const;
type RoleName = (typeof ROLES)[number];

let here: World;
beforeAll(async () => {
  here = await startWorld({ roles: ROLES.join(","), provider: "supervised" });
});
afterAll(() => here?.stop());

/** What only a living process of the role brings about. Resolves with the moment of the first such event after `sinceMs`. */
const SIGNS_OF_LIFE: Record<RoleName, (sinceMs: number, signal: AbortSignal) => Promise<number>> = {
  /** The first call for a group that was admitted since. */
  bridge: (sinceMs, signal) =>
    firstOf(signal, ({ admittedAt = 0, startedAt = 0 }) => (admittedAt > sinceMs ? startedAt : 0)),
  worker: (sinceMs, signal) => firstOf(signal, ({ startedAt = 0 }) => (startedAt > sinceMs ? startedAt : 0)),
  provider: (sinceMs, signal) => firstOf(signal, ({ answeredAt = 0 }) => (answeredAt > sinceMs ? answeredAt : 0)),
  results: (_sinceMs, signal) => firstChange(signal, () => here.redis.hget(OUTCOME_COUNTS, "assessed")),
  gateway: (_sinceMs, signal) =>
    firstChange(signal, async () => (await here.redis.xrevrange(KEYS.shown, "+", "-", "COUNT", 1))[0]?.[0]),
};

type Timings = Awaited<ReturnType<World["nextResult"]>>["metadata"]["timings"];

async function firstOf(signal: AbortSignal, moment: (timings: Timings) => number): Promise<number> {
  for (let checked = here.results().length; ; await wait(20, undefined, { signal })) {
    const results = here.results();
    for (; checked < results.length; checked++) {
      const result = results[checked];
      const at = result?.outcome === "assessed" ? moment(result.metadata.timings) : 0;
      if (at > 0) return at;
    }
  }
}

async function firstChange(signal: AbortSignal, read: () => Promise<unknown>): Promise<number> {
  const before = await read();
  while ((await read()) === before) await wait(20, undefined, { signal });
  return Date.now();
}

interface Disturbance {
  /** Those that have to show that they live. */
  roles: readonly RoleName[];
  /** From when the time until then counts. */
  fromMs: number;
}

/** Disturbs in the middle of an offer, and tells of each role how long it took to show life again. */
async function underLoad(times: number, disturb: (nth: number) => Promise<Disturbance>) {
  const countedBefore = await here.countedByResults(0);
  const offering = here.offer({ groupsPerSecond: 25 });
  await here.nextResult();
  const gapsMs: { role: RoleName; ms: number }[] = [];
  for (let nth = 0; nth < times; nth++) {
    const { roles, fromMs } = await disturb(nth);
    const signal = AbortSignal.timeout(Math.max(0, fromMs + RESUMES_WITHIN_MS - Date.now()));
    const sinceMs = Date.now();
    await Promise.all(
      roles.map(async (role) => {
        const atMs = await SIGNS_OF_LIFE[role](sinceMs, signal).catch(() => {
          throw new Error(`no life of the ${role} within ${RESUMES_WITHIN_MS} ms`);
        });
        gapsMs.push({ role, ms: Math.round(atMs - fromMs) });
      }),
    );
    for (let more = 0; more < 25; more++) await here.nextResult(); // back to full load before the next
  }
  const ids = await offering.end();
  return { ids, gapsMs, countedBefore, ...(await here.settled(ids, SETTLES_WITHIN_MS)) };
}

async function expectEachOnce(what: string, outcome: Awaited<ReturnType<typeof underLoad>>) {
  const { ids, lost, doubled, results, gapsMs, countedBefore } = outcome;
  console.log(`${ids.length} groups; ${what}: ${gapsMs.map(({ role, ms }) => `${role} ${ms} ms`).join(", ")}`);
  expect(lost).toEqual([]);
  expect(doubled).toEqual([]);
  const others = results.filter((result) => result.outcome !== "assessed");
  expect(others.map((result) => [result.taskId, result.outcome, result.error])).toEqual([]);
  expect(results).toHaveLength(ids.length);
  const counted = countedBefore + ids.length;
  expect(await here.countedByResults(counted)).toBe(counted);
  const asked = new Set(ids);
  const shown = async () => (await here.shown()).filter((id) => asked.has(id)).toSorted();
  await expect.poll(async () => (await shown()).length, { timeout: 20_000 }).toBeGreaterThanOrEqual(ids.length);
  expect(await shown()).toEqual(ids.toSorted());
  for (const { role, ms } of gapsMs) expect(ms, role).toBeLessThan(RESUMES_WITHIN_MS);
}

describe("kill -9", () => {
  test("of each role in turn: what it did goes on within seconds", { timeout: LONG ? 600_000 : 180_000 }, async () => {
    const outcome = await underLoad(ROLES.length * ROUNDS, async (nth) => {
      const role = ROLES[nth % ROLES.length] ?? "bridge";
      const { pid } = await here.role(role);
      const fromMs = Date.now();
      process.kill(pid, "SIGKILL");
      await gone(pid);
      await wait(LAST_WORDS_MS);
      return { roles: [role], fromMs };
    });
    await expectEachOnce("from kill to life", outcome);
  });

  test("of the store, which comes back with everything", { timeout: LONG ? 600_000 : 180_000 }, async () => {
    const outcome = await underLoad(ROUNDS, async () => {
      const fromMs = Date.now();
      await here.store.kill("SIGKILL");
      await here.store.restart();
      return { roles: ROLES, fromMs };
    });
    await expectEachOnce("from the store's death to life", outcome);
  });
});

test("processes stopped for longer than their locks, and woken", { timeout: LONG ? 600_000 : 180_000 }, async () => {
  const stopped: (RoleName[] | "store")[] = [["worker", "gateway"], "store", ["bridge", "results", "provider"]];
  const outcome = await underLoad(LONG ? 9 : stopped.length, async (nth) => {
    const these = stopped[nth % stopped.length] ?? [];
    const roles = these === "store" ? ROLES : these;
    const pids = these === "store" ? [here.store.pid] : await pidsOf(these);
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    await wait(STOPPED_MS);
    for (const pid of pids) process.kill(pid, "SIGCONT");
    const fromMs = Date.now();
    if (these !== "store") expect(await pidsOf(these)).toEqual(pids); // woken, not started anew
    return { roles, fromMs };
  });
  await expectEachOnce("from waking to work", outcome);
});

const pidsOf = async (roles: readonly RoleName[]) =>
  (await Promise.all(roles.map((role) => here.role(role)))).map(({ pid }) => pid);

/** Resolves when there is no such process any more. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await wait(5);
  }
}
