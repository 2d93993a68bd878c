/** What a key group learns from its calls: how wide its guard has to be, and that its workers are behind. */
import type { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { CallFeedback, Quota } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { connectStore } from "../../src/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

let server: TestRedis;
let redis: Redis;
let room: WaitingRoom;
let quota: Quota;

beforeAll(async () => {
  server = await startRedis();
  redis = await connectStore(server.url, { clock: systemClock, log: pino({ level: "silent" }) });
});
afterAll(async () => {
  redis?.disconnect();
  await server?.stop();
});
beforeEach(async () => {
  await redis.flushall();
  room = createWaitingRoom(redis, { maxWaiting: 1_000 });
  quota = createQuota(redis, systemClock);
  const group = aKeyGroup({ windows: [{ name: "requestsPerSecond", limit: 1_000, windowMs: 1_000 }] });
  await quota.register([group], LIVES);
  await quota.hold([{ keyGroup: group.id, keyId: "key-1" }], 60_000);
});

const guardMs = async () => Number(await redis.hget("{vl}:group:group-a", "guard"));

/** What settle learns from so many calls, whatever became of their tasks. */
async function learn(calls: number, feedback: (i: number) => Partial<CallFeedback>) {
  const call = { keyGroup: "group-a", keyId: "key-1", called: true, ok: true, latencyMs: 900 };
  for (let i = 0; i < calls; i += 1) {
    const lease = { taskId: `none-${i}`, epoch: 1 };
    await quota.settle(lease, { kind: "back", avoidMs: 0 }, { ...call, ...feedback(i) });
  }
}

const early = { ok: false, rateRefusal: true, cameTooEarly: true, code: "RATE_LIMITED" } as const;
/** 10, 20, … 100 ms in an order without a pattern: 90th less 20th percentile is 70 ms or a step more. */
const spread = (i: number) => 10 + 10 * ((i * 7) % 10);

test("where nothing jitters the guard rests at its floor", async () => {
  await learn(300, () => ({ networkMs: 12 }));
  expect(await guardMs()).toBeCloseTo(5, 0);
});

test("the guard is as wide as the network's part of the round trips is spread, and narrows when that does", async () => {
  await learn(400, (i) => ({ networkMs: spread(i) }));
  const wide = await guardMs();
  expect(wide).toBeGreaterThan(35);
  expect(wide).toBeLessThan(90);
  await learn(600, () => ({ networkMs: 40 }));
  expect(await guardMs()).toBeLessThan(15);
});

test("what timers and event loops spread by themselves does not widen it", async () => {
  await learn(100, (i) => ({ networkMs: 12 + ((i * 7) % 5) }));
  expect(await guardMs()).toBeCloseTo(5, 0);
});

test("it begins near where jitter brings it, before anything was refused", async () => {
  await learn(60, (i) => ({ networkMs: spread(i) }));
  expect(await guardMs()).toBeGreaterThan(85);
});

test("refusals only correct it: they widen it, and calls that are accepted narrow it again", async () => {
  await learn(200, (i) => ({ networkMs: spread(i) }));
  const measured = await guardMs();
  await learn(20, (i) => ({ ...early, networkMs: spread(i) }));
  const corrected = await guardMs();
  expect(corrected).toBeGreaterThan(measured * 1.5);
  expect(corrected).toBeLessThanOrEqual(250);
  await learn(400, (i) => ({ networkMs: spread(i) }));
  expect(await guardMs()).toBeLessThan(corrected);
});

test("where a provider does not say how long it worked, refusals alone move it, within its bounds", async () => {
  await learn(3, () => early);
  expect(await guardMs()).toBeCloseTo(25 + 3 * 9.93, 1);
  await learn(40, () => early);
  expect(await guardMs()).toBe(250);
});

test("refusals for other reasons do not move it", async () => {
  await learn(20, () => ({ ok: false, code: "PROVIDER_FAILED" }));
  await learn(20, () => ({ ok: false, rateRefusal: true, code: "RATE_LIMITED" })); // tokens, or a burst
  expect(await guardMs()).toBe(25);
});

test("a refused call gives its place back where the provider does not count it, and keeps it where it does", async () => {
  const LOG = "{vl}:window:group-a:requests:sliding:1000";
  for (const [takesNoPlace, places] of [
    [true, 0],
    [false, 1],
  ] as const) {
    await redis.del(LOG);
    await room.admit([anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    expect((await quota.spend(one, "w:1", 5_000, false)).kind).toBe("granted");
    const call = { keyGroup: "group-a", keyId: "key-1", called: true, latencyMs: 5 };
    await quota.settle(
      one,
      { kind: "failed", error: { code: "X", message: "" }, meta: {} },
      { ...call, ...early, takesNoPlace },
    );
    expect(await redis.zcard(LOG)).toBe(places);
  }
});

test("a group whose leases lapse rests, longer each time, until a call begins: jobs do not pile up before busy workers", async () => {
  await room.admit(Array.from({ length: 3 }, () => anArrival()));
  const restsMs = async () => {
    const { taken, waitMs } = await quota.take(1);
    expect(taken).toEqual([]);
    return waitMs ?? 0;
  };
  /** Takes one task and lets its lease lapse, as a worker does that comes too late. */
  const lapse = async () => {
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await redis.zadd("{vl}:leases", 1, `${one.taskId}#${one.epoch}`);
    expect(await room.sweep()).toMatchObject({ lapsed: 1 });
  };
  /** The rest is over. */
  const rested = () =>
    redis.hset("{vl}:group:group-a", "slowUntil", 1).then(() => redis.zadd("{vl}:free", 1, "group-a"));
  await lapse();
  await lapse(); // once is nothing
  const first = await restsMs();
  expect(first).toBeGreaterThan(0);
  expect(first).toBeLessThanOrEqual(50);
  await rested();
  for (let i = 0; i < 4; i += 1) {
    await lapse();
    if (i < 3) await rested();
  }
  expect(await restsMs()).toBeGreaterThan(first);
  await rested();
  const [one] = (await quota.take(1)).taken;
  if (!one) throw new Error("nothing taken");
  await quota.spend(one, "w:1", 5_000, false);
  expect((await quota.take(1)).taken).toHaveLength(1);
});
