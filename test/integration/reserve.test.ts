/**
 * The reserve for urgent tasks, under a load that wants all and more: how long they wait, and what it costs the others. Two
 * bridges take in turn from a real store whose clock the test steers.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { KeyGroup } from "../../src/queues/key-groups.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { QuotaWindow } from "../../src/queues/window.ts";
import { type SteeredStore, startSteeredStore } from "../support/steered-store.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

const START = Date.parse("2026-01-01T00:00:00Z");
let store: SteeredStore;
beforeAll(async () => {
  store = await startSteeredStore(START);
});
afterAll(() => store?.stop());
beforeEach(() => store.redis.flushall());

interface Scene {
  windows: QuotaWindow[];
  reserve: number;
  /** An urgent task every so often; null: none. */
  urgentEveryMs: number | null;
  seconds: number;
  /** From then on none comes any more. */
  urgentUntilMs?: number;
  stepMs?: number;
}

/** Tasks that are not urgent always wait. Everything that can be taken at a moment is called then. */
async function play({
  windows,
  reserve,
  urgentEveryMs,
  seconds,
  urgentUntilMs = Number.POSITIVE_INFINITY,
  stepMs = 250,
}: Scene) {
  await store.redis.flushall();
  store.set(START);
  const groups: KeyGroup[] = ["a", "b"].map((id) => aKeyGroup({ id, windows }));
  const bridges = [createQuota(store.redis, store.clock), createQuota(await store.connect(), store.clock)];
  const room = createWaitingRoom(store.redis, { maxWaiting: 100_000 });
  await bridges[0]?.register(groups, { ...LIVES, routing: { strategy: "round_robin", reserve } });
  await bridges[0]?.hold(
    groups.map(({ id }) => ({ keyGroup: id, keyId: "key-1" })),
    1e9,
  );
  const admit = async (count: number, score: number) => {
    const some = Array.from({ length: count }, () =>
      anArrival({ freshnessSeconds: 0, score, capturedAtMs: store.nowMs(), cameraId: `cam-${score}` }),
    );
    await room.admit(some);
    return some.map(({ task }) => task.taskId);
  };
  const urgentSince = new Map<string, number>();
  const callsAt: number[] = [];
  /** Of urgent ones: when each came, and how long it waited. */
  const waits: { cameMs: number; waitMs: number }[] = [];
  let ordinary = 0;
  for (let ms = 0; ms < seconds * 1_000; ms += stepMs) {
    store.set(START + ms);
    if (ordinary < 100) {
      await admit(200, 0.3);
      ordinary += 200;
    }
    if (urgentEveryMs !== null && ms < urgentUntilMs && ms % urgentEveryMs < stepMs)
      for (const id of await admit(1, 0.9)) urgentSince.set(id, ms);
    for (let i = 0; i < 100; i += 1) {
      const bridge = bridges[i % 2];
      const { taken } = (await bridge?.take(8)) ?? { taken: [] };
      if (taken.length === 0) break;
      for (const lease of taken) {
        const since = urgentSince.get(lease.taskId);
        urgentSince.delete(lease.taskId);
        if (since !== undefined) waits.push({ cameMs: since, waitMs: ms - since });
        else ordinary -= 1;
        expect((await bridge?.spend(lease, "w:1", 5_000, false))?.kind).toBe("granted");
        const { keyGroup, keyId } = lease;
        const feedback = { keyGroup, keyId, called: true, ok: true, latencyMs: 1 };
        await bridge?.settle(lease, { kind: "assessed", verdict: {}, meta: {} }, feedback);
        callsAt.push(ms);
      }
    }
  }
  for (const since of urgentSince.values()) waits.push({ cameMs: since, waitMs: seconds * 1_000 - since }); // still waiting
  const longestFrom = (fromMs: number) =>
    Math.max(0, ...waits.filter(({ cameMs }) => cameMs >= fromMs).map(({ waitMs }) => waitMs));
  return { calls: callsAt.length, callsAt, longestFrom };
}

/** All of a minute's places can be had in its first seconds. */
const lumps: QuotaWindow[] = [
  { name: "requestsPerSecond", limit: 10, windowMs: 1_000 },
  { name: "requestsPerMinute", limit: 40, windowMs: 60_000 },
];

test("where a minute's places are gone in seconds, urgent tasks find one all the same, and hardly a call is lost", async () => {
  const scene = { windows: lumps, urgentEveryMs: 6_000, seconds: 190 };
  const without = await play({ ...scene, reserve: 0 });
  const within = await play({ ...scene, reserve: 0.15 });
  expect(without.longestFrom(60_000)).toBeGreaterThan(30_000);
  // In the first minute nothing is known of them yet.
  expect(within.longestFrom(60_000)).toBeLessThanOrEqual(1_500);
  const twoMinutes = ({ callsAt }: { callsAt: number[] }) =>
    callsAt.filter((at) => at >= 60_000 && at < 180_000).length;
  expect(twoMinutes(within) / twoMinutes(without)).toBeGreaterThan(0.95);
}, 60_000);

test("while no urgent task comes nothing is held back, and soon after the last one nothing any more", async () => {
  const scene = { windows: lumps, urgentEveryMs: null, seconds: 130 };
  expect((await play({ ...scene, reserve: 0.5 })).callsAt).toEqual((await play({ ...scene, reserve: 0 })).callsAt);
  const brief = { windows: lumps, urgentEveryMs: 5_000, urgentUntilMs: 30_000, seconds: 301, stepMs: 500 };
  const lastMinute = ({ callsAt }: { callsAt: number[] }) =>
    callsAt.filter((at) => at >= 240_000 && at < 300_000).length;
  expect(lastMinute(await play({ ...brief, reserve: 0.3 }))).toBe(80);
}, 60_000);

test("where places come free all the time nothing is held back, however many are urgent", async () => {
  const smooth: QuotaWindow[] = [
    { name: "requestsPerSecond", limit: 5, windowMs: 1_000 },
    { name: "requestsPerMinute", limit: 300, windowMs: 60_000 },
  ];
  const scene = { windows: smooth, urgentEveryMs: 1_000, seconds: 75 };
  const without = await play({ ...scene, reserve: 0 });
  const within = await play({ ...scene, reserve: 0.1 });
  expect(within.calls / without.calls).toBeGreaterThan(0.99);
  expect(within.longestFrom(0)).toBeLessThanOrEqual(1_250);
}, 60_000);

test("a fixed minute: what is held back is let go as its end comes near", async () => {
  const fixed: QuotaWindow[] = [{ name: "perMinute", limit: 40, windowMs: 60_000, kind: "fixed" }];
  const scene = { windows: fixed, urgentEveryMs: 10_000, seconds: 241 };
  const without = await play({ ...scene, reserve: 0 });
  const within = await play({ ...scene, reserve: 0.2 });
  const inMinute = (n: number) => within.callsAt.filter((at) => Math.floor(at / 60_000) === n);
  expect(within.longestFrom(60_000)).toBeLessThanOrEqual(1_500);
  expect(without.longestFrom(60_000)).toBeGreaterThan(30_000);
  for (const n of [2, 3]) {
    expect(inMinute(n).length).toBeGreaterThanOrEqual(75); // of 80
    // Urgent ones are six a minute: what else is called late was let go.
    expect(inMinute(n).filter((at) => at % 60_000 > 20_000).length).toBeGreaterThan(6);
  }
}, 60_000);

test("a task is urgent by its score, not by how long its scene has waited; what people retry is", async () => {
  const room = createWaitingRoom(store.redis, { maxWaiting: 100 });
  const quota = createQuota(store.redis, store.clock);
  await quota.register([aKeyGroup({ windows: lumps })], LIVES);
  const old = anArrival({ score: 0.5, capturedAtMs: store.nowMs() - 9_000 });
  const high = anArrival({ score: 0.6, capturedAtMs: store.nowMs() });
  await room.admit([old, high]);
  expect(await store.redis.hget(`{vl}:task:${old.task.taskId}`, "b")).toBe("4");
  expect(await store.redis.zrevrange("{vl}:urgent", 0, -1)).toEqual([high.task.taskId]);
  await quota.hold([{ keyGroup: "group-a", keyId: "key-1" }], 1e9);
  const { taken } = await quota.take(2);
  expect(await store.redis.exists("{vl}:urgent")).toBe(0);
  const [lease] = taken.filter(({ taskId }) => taskId === old.task.taskId);
  if (!lease) throw new Error("not taken");
  await quota.spend(lease, "w:1", 5_000, false);
  await quota.settle(lease, { kind: "failed", error: { code: "X", message: "" }, meta: {} }, null);
  await room.reopen(old.task.taskId);
  expect(await store.redis.zrevrange("{vl}:urgent", 0, -1)).toEqual([old.task.taskId]);
});
