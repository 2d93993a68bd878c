/** Windows hold across processes, and are used: shown at a provider that only counts, and at the stamps of the store. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { startWorld, type World } from "../support/world.ts";

const folder = mkdtempSync(join(tmpdir(), "vigilane-windows-"));
const LIMITS = { requestsPerSecond: 20, requestsPerMinute: 900 };

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

test("two worker processes on one key group: no window is ever exceeded, and fifty calls are in flight at once", async () => {
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
      accounts: [{ id: "one", keys: ["sim-one"], windows: LIMITS }],
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

  const offering = here.offer({ groupsPerSecond: 30 });
  await here.provider.until((stats) => (stats.accounts[0]?.calls ?? 0) >= 200);
  const ids = await offering.end();
  const { lost, doubled, results } = await here.settled(ids, 90_000);
  expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });

  const [account] = here.provider.stats().accounts;
  expect(account?.calls).toBe(ids.length);
  expect(account?.mostInFlight).toBeGreaterThanOrEqual(50);
  for (const [name, window] of Object.entries(account?.windows ?? {}))
    expect(window.most, name).toBeLessThanOrEqual(window.limit);

  const stamps = results.map((result) => result.metadata.timings.startedAt ?? 0).toSorted((a, b) => a - b);
  expect(mostWithin(stamps, 1_000)).toBeLessThanOrEqual(LIMITS.requestsPerSecond);
  expect(mostWithin(stamps, 60_000)).toBeLessThanOrEqual(LIMITS.requestsPerMinute);
});

/** Most stamps inside any half-open window of so many ms. `stamps` ascending. */
function mostWithin(stamps: readonly number[], windowMs: number): number {
  let most = 0;
  for (let first = 0, last = 0; last < stamps.length; last++) {
    while ((stamps[last] ?? 0) - (stamps[first] ?? 0) >= windowMs) first++;
    most = Math.max(most, last - first + 1);
  }
  return most;
}
