/**
 * Windows hold across processes, and are used to the full, the second's and the minute's: shown at a provider that only
 * counts, and at the stamps of the store. VIGILANE_LONG=1: waits for the minute's end, when the rest is assessed.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import type { AssessmentResult } from "../../src/messages.ts";
import { mostWithin, secondLessDelays } from "../support/most-within.ts";
import { startWorld, type World } from "../support/world.ts";

const folder = mkdtempSync(join(tmpdir(), "vigilane-windows-"));
const LONG = process.env.VIGILANE_LONG === "1";
/** The second's window binds from the start; the minute's is full after 12 s, while more than is in it has been offered. */
const LIMITS = { requestsPerSecond: 20, requestsPerMinute: 240 };
const BAR = secondLessDelays(LIMITS.requestsPerSecond);
/** With a full minute and work waiting, nobody may call for so long. */
const WATCHED_MS = 4_000;

let world: World | undefined;
let second: ChildProcess | undefined;
afterEach(async () => {
  if (second && second.exitCode === null) {
    second.kill("SIGTERM");
    await once(second, "exit");
  }
  await world?.stop();
  world = undefined;
  rmSync(folder, { recursive: true, force: true });
});

test("two worker processes on one key group: no window is ever exceeded, each is used to the full, and fifty calls are in flight at once", {
  timeout: 180_000,
}, async () => {
  const keys = join(folder, "keys.yaml");
  writeFileSync(
    keys,
    `keyGroups:\n  - id: one\n    provider: simulated\n    windows: ${JSON.stringify(LIMITS)}\n    keys: [{ id: key-1, secret: sim-one }]\n`,
  );
  const env = { VIGILANE_KEYS: keys, VIGILANE_CALLS_PER_DAY: "0" };
  const here = await startWorld({
    env,
    simulator: {
      mode: "countOnly",
      latency: { meanMs: 4_000, p95Ms: 5_000 },
      accounts: [
        { id: "one", keys: ["sim-one"], windows: { ...LIMITS, others: [BAR] } },
        { id: "warm", keys: ["sim-warm"] },
      ],
    },
  });
  world = here;
  second = spawn(process.execPath, ["src/main.ts", "worker"], {
    env: {
      ...process.env,
      ...env,
      REDIS_URL: here.store.url,
      VIGILANE_SIMULATOR_URL: new URL("/", here.provider.url).href,
      VIGILANE_DATA: here.data,
      VIGILANE_INSTANCE: "worker-2",
    },
    stdio: "ignore",
  });
  const first = await here.role("worker");
  await here.role("worker", first.pid);

  await warmUp(here.provider.url);
  const offering = here.offer({ groupsPerSecond: 30 });
  const calls = () => here.provider.stats().accounts[0]?.calls ?? 0;
  await here.provider.until(() => calls() >= LIMITS.requestsPerMinute);
  await wait(WATCHED_MS);
  expect(calls()).toBe(LIMITS.requestsPerMinute); // though work waits
  expect(await here.redis.zcard("{vl}:wait")).toBeGreaterThan(0);
  const ids = await offering.end();
  await expect.poll(() => here.results().length, { timeout: 20_000 }).toBe(LIMITS.requestsPerMinute);
  expect(new Set(here.results().map(({ taskId }) => taskId)).size).toBe(LIMITS.requestsPerMinute);
  expect(await callers(here)).toEqual(new Set(["worker-1", "worker-2"]));
  if (LONG) {
    const { lost, doubled } = await here.settled(ids, 120_000);
    expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
    expect(calls()).toBe(ids.length);
  }

  const [account] = here.provider.stats().accounts;
  expect(account?.mostInFlight).toBeGreaterThanOrEqual(50);
  const most = Object.fromEntries(Object.entries(account?.windows ?? {}).map(([name, window]) => [name, window.most]));
  expect(most[BAR.name]).toBeLessThanOrEqual(BAR.requests);
  expect(most.requestsPerSecond).toBeGreaterThanOrEqual(LIMITS.requestsPerSecond); // used to the full
  expect(most.requestsPerMinute).toBe(LIMITS.requestsPerMinute);

  const startedAt = ({ metadata }: AssessmentResult) => metadata.timings.startedAt ?? 0;
  const stamps = here
    .results()
    .map(startedAt)
    .toSorted((a, b) => a - b);
  expect(stamps.at(0)).toBeGreaterThan(0);
  expect(mostWithin(stamps, 1_000)).toBe(LIMITS.requestsPerSecond);
  expect(mostWithin(stamps, 60_000)).toBe(LIMITS.requestsPerMinute);
  console.log(`most at the provider: ${JSON.stringify(most)}, in flight ${account?.mostInFlight}`);
});

/** Instances of the workers whose calls led to the results. */
async function callers({ redis, results }: World): Promise<Set<string>> {
  const records = await Promise.all(results().map(({ taskId }) => redis.hget(`{vl}:task:${taskId}`, "w")));
  return new Set(records.map((worker) => worker?.split(":")[0] ?? "nobody"));
}

/** The first requests to a cold server are heard late: they are another account's, and none that can be answered. */
async function warmUp(baseUrl: string): Promise<void> {
  const request = { method: "POST", headers: { authorization: "Bearer sim-warm" }, body: "{}" };
  const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(`${baseUrl}/chat/completions`, request)));
  for (const answer of answers) {
    expect(answer.status).toBeGreaterThanOrEqual(400);
    await answer.text();
  }
}
