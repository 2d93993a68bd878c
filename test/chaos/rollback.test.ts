/**
 * A store of somebody's own with `appendfsync everysec` that dies without its newest writes, under load: every group is
 * still assessed once, no window is exceeded, and what came twice is counted. The tail is really lost: the append-only file
 * is cut where it ended before the kill. VIGILANE_LONG=1: more deaths.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { AssessmentResult } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { OUTCOME_COUNTS } from "../../src/results/record-result.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { startWorld, type World } from "../support/world.ts";

const LONG = process.env.VIGILANE_LONG === "1";
const DEATHS = LONG ? 6 : 1;
const SETTLES_WITHIN_MS = 90_000;

let world: World | undefined;
afterEach(async () => {
  await world?.stop();
  world = undefined;
});

/** Task ids of all results that the log has now, each as often as it is there. */
async function inResultsTopic({ redis }: World): Promise<string[]> {
  const shards = await Promise.all(
    Array.from({ length: 16 }, (_, shard) => redis.xrange(`vl:topic:${TOPICS.results}:${shard}`, "-", "+")),
  );
  return shards
    .flat()
    .map(([, fields]) => AssessmentResult.parse(JSON.parse(fields[fields.indexOf("v") + 1] ?? "")).taskId)
    .toSorted();
}

async function messagesIn({ redis }: World, topic: string): Promise<number> {
  const lengths = await Promise.all(Array.from({ length: 16 }, (_, s) => redis.xlen(`vl:topic:${topic}:${s}`)));
  return lengths.reduce((a, b) => a + b, 0);
}

test("every group that was accepted is assessed and counted once, and what came twice is counted", async () => {
  const here = await startWorld({ appendfsync: "everysec" });
  world = here;
  const offering = here.offer({ groupsPerSecond: 25 });
  await here.nextResult();
  for (let nth = 0; nth < DEATHS; nth += 1) {
    await here.storeForgets(() => here.results().length, 25);
    await here.store.restart();
    const backMs = Date.now();
    for (let calledSince = 0; calledSince < 25; ) {
      const { metadata } = await here.nextResult();
      if ((metadata.timings.startedAt ?? 0) > backMs) calledSince += 1;
    }
  }
  const ids = await offering.end();
  const { lost } = await here.settled(ids, SETTLES_WITHIN_MS);
  expect(lost).toEqual([]);
  // One that the ledger saw before the store forgot it is still to come again.
  await expect.poll(() => inResultsTopic(here), { timeout: SETTLES_WITHIN_MS }).toEqual(ids.toSorted());
  expect(await here.countedByResults(ids.length)).toBe(ids.length);
  expect(await here.redis.hget(OUTCOME_COUNTS, "assessed")).toBe(String(ids.length));
  await expect.poll(async () => new Set(await here.shown()).size, { timeout: 20_000 }).toBe(ids.length);

  expect(here.topics.publishedAgain()).toBeGreaterThan(25);
  expect(await messagesIn(here, TOPICS.detections)).toBe(ids.length); // published again: just what was lost
  const twice = here.results().length - ids.length;
  console.log(`${ids.length} groups, ${here.topics.publishedAgain()} published again, ${twice} results seen twice`);
});

test("no window is exceeded at the provider, though the store has forgotten calls", async () => {
  const limits = { requestsPerSecond: 20, requestsPerMinute: 90 };
  const folder = mkdtempSync(join(tmpdir(), "vigilane-rollback-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const keys = join(folder, "keys.yaml");
  writeFileSync(
    keys,
    `keyGroups:\n  - id: one\n    provider: simulated\n    windows: ${JSON.stringify(limits)}\n    keys: [{ id: key-1, secret: sim-one }]\n`,
  );
  // As in windows.test.ts: delays between stamp and provider vary on a loaded machine.
  const bar = { name: "a second less delays", requests: limits.requestsPerSecond, windowMs: 900 };
  const here = await startWorld({
    appendfsync: "everysec",
    env: { VIGILANE_KEYS: keys, VIGILANE_CALLS_PER_DAY: "0" },
    simulator: {
      mode: "countOnly",
      latency: { meanMs: 300, p95Ms: 500 },
      accounts: [{ id: "one", keys: ["sim-one"], windows: { ...limits, others: [bar] } }],
    },
  });
  world = here;
  const calls = () => here.provider.stats().accounts[0]?.calls ?? 0;
  const offering = here.offer({ groupsPerSecond: 40 });
  await here.provider.until(() => calls() >= 20);
  // More than a second's, which the minute would otherwise have too much.
  await here.storeForgets(calls, limits.requestsPerSecond);
  await here.store.restart();
  await here.provider.until(() => calls() >= limits.requestsPerMinute);
  await wait(3_000); // with a full minute and work waiting nobody may call
  // The provider's own window says whether somebody did, however long all of this took.
  expect(here.provider.stats().accounts[0]?.windows.requestsPerMinute?.most).toBe(limits.requestsPerMinute);
  expect(await here.redis.zcard("{vl}:wait")).toBeGreaterThan(0);
  expect(await here.redis.exists(KEYS.keyGroups)).toBe(1);
  await offering.end();
  const windows = here.provider.stats().accounts[0]?.windows ?? {};
  expect(windows[bar.name]?.most).toBeLessThanOrEqual(bar.requests);
  expect(windows.requestsPerMinute?.most).toBe(limits.requestsPerMinute);
});
