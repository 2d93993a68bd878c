import type { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { KEYS } from "../../src/names.ts";
import type { KeyGroup } from "../../src/queues/key-groups.ts";
import type { Quota, Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { connectStore } from "../../src/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, coolsGroup, LIVES } from "../support/tasks.ts";

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
});

async function groups(...all: KeyGroup[]) {
  await quota.register(all, LIVES);
  await quota.hold(
    all.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id }))),
    60_000,
  );
}

const many = (limit: number, windowMs = 1_000) =>
  aKeyGroup({ windows: [{ name: "requestsPerSecond", limit, windowMs }] });
const ids = (taken: readonly Taken[]) => taken.map((one) => one.taskId);
const outbox = async () =>
  (await redis.xrange("{vl}:outbox", "-", "+")).map(([, flat]) =>
    Object.fromEntries(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]])),
  );
const verdict = {
  riskLevel: "low",
  confidence: 0.5,
  riskTypes: [],
  description: "",
  dangerObjectCount: null,
  triggerObjectIds: [],
};
const assessed = { kind: "assessed", verdict, meta: {} } as const;

describe("admission", () => {
  test("is idempotent by id and content; another content is a conflict", async () => {
    const arrival = anArrival();
    expect((await room.admit([arrival])).admissions).toEqual(["admitted"]);
    expect((await room.admit([arrival])).admissions).toEqual(["known"]);
    const other = { ...arrival, task: { ...arrival.task, bbox: [0, 0, 1, 1] as const } };
    expect((await room.admit([{ ...other, task: { ...other.task, bbox: [0, 0, 1, 1] } }])).admissions).toEqual([
      "conflict",
    ]);
    expect((await room.counts()).waiting).toBe(1);
  });

  test("what cannot be judged fails at once, with its outcome", async () => {
    const { admissions } = await room.admit([anArrival({}, { failed: { code: "IMAGE_MISSING", message: "none" } })]);
    expect(admissions).toEqual(["failed"]);
    expect(await outbox()).toMatchObject([{ outcome: "failed", error: '{"code":"IMAGE_MISSING","message":"none"}' }]);
  });

  test("what is older than its freshness expires at once; freshness 0 never expires", async () => {
    const capturedAtMs = Date.now() - 20_000;
    const { admissions } = await room.admit([
      anArrival({ capturedAtMs }),
      anArrival({ capturedAtMs, freshnessSeconds: 0 }),
    ]);
    expect(admissions).toEqual(["expired", "admitted"]);
  });

  test("beyond its bound the least urgent one expires as room_full", async () => {
    room = createWaitingRoom(redis, { maxWaiting: 2 });
    const [least, ...others] = [anArrival({ score: 0.1 }), anArrival({ score: 0.9 }), anArrival({ score: 0.5 })];
    await room.admit([least, ...others].filter((a) => a !== undefined));
    expect(await outbox()).toMatchObject([
      { id: least?.task.taskId, outcome: "expired", error: expect.stringContaining("room_full") },
    ]);
    expect((await room.counts()).waiting).toBe(2);
  });
});

describe("supersession", () => {
  test("a later group with mostly the same tracks takes the place of the one that waits", async () => {
    const tracks = (...trackIds: number[]) =>
      trackIds.map((trackId) => ({
        class: "car",
        confidence: 1,
        bbox: [0, 0, 1, 1] as [number, number, number, number],
        trackId,
      }));
    const old = anArrival({ objects: tracks(1, 2, 3), capturedAtMs: Date.now() - 1_000 });
    const other = anArrival({ objects: tracks(7, 8), capturedAtMs: Date.now() - 900 });
    await room.admit([old, other]);
    const late = anArrival({ objects: tracks(2, 3, 4, 1) });
    await room.admit([late]);
    expect(await outbox()).toMatchObject([{ id: old.task.taskId, outcome: "superseded" }]);
    expect((await room.next(10)).map((view) => view.taskId).toSorted()).toEqual(
      [late.task.taskId, other.task.taskId].toSorted(),
    );
  });

  test("without tracks the boxes decide; groups of one message never supersede each other", async () => {
    const objects: [] = [];
    const first = anArrival({ objects, bbox: [0, 0, 100, 100], capturedAtMs: Date.now() - 500 });
    const twin = { ...anArrival({ objects, bbox: [0, 0, 100, 100] }), messageId: first.messageId };
    await room.admit([first, twin]);
    expect((await room.counts()).waiting).toBe(2);
    await room.admit([anArrival({ objects, bbox: [0, 0, 100, 90] })]);
    expect((await outbox()).map((entry) => entry.outcome)).toEqual(["superseded"]);
  });

  test("an older one that comes later is superseded itself; freshness 0 is never superseded", async () => {
    const objects: [] = [];
    await room.admit([anArrival({ objects, bbox: [0, 0, 100, 100] })]);
    const older = anArrival({ objects, bbox: [0, 0, 100, 100], capturedAtMs: Date.now() - 1_000 });
    expect((await room.admit([older])).admissions).toEqual(["superseded"]);
    await redis.flushall();
    await room.admit([
      anArrival({ objects, freshnessSeconds: 0, bbox: [0, 0, 100, 100] }),
      anArrival({ objects, freshnessSeconds: 0, bbox: [0, 0, 100, 100] }),
    ]);
    expect((await room.counts()).waiting).toBe(2);
  });
});

describe("reuse", () => {
  const objects = (...trackIds: number[]) =>
    trackIds.map((trackId) => ({
      class: "car",
      confidence: 1,
      bbox: [0, 0, 9, 9] as [number, number, number, number],
      trackId,
    }));
  const looks = (imageHash: string, over = {}) =>
    anArrival({ objects: objects(3, 1, 2), imageHash, reuseSeconds: 30, ...over });

  async function judged(imageHash: string) {
    await groups(many(9));
    await room.admit([looks(imageHash)]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await quota.spend(one, "w:1", 5_000, false);
    await quota.settle(one, { ...assessed, meta: { simulated: true } }, null);
  }

  test("the same tracks in a near-equal crop get the last verdict again, without a call", async () => {
    await judged("00000000000000ff");
    const again = looks("000000000000033f", { objects: objects(1, 2, 3) }); // 4 bits apart, another order
    expect((await room.admit([again])).admissions).toEqual(["reused"]);
    expect((await outbox())[1]).toMatchObject({
      id: again.task.taskId,
      outcome: "reused",
      verdict: JSON.stringify(verdict),
      meta: '{"simulated":true}',
      startedAt: "",
    });
  });

  test("another look, other tracks, another camera, no hash, or an old verdict: judged anew", async () => {
    await judged("00000000000000ff");
    const others = [
      looks("000000000000ffff"),
      looks("00000000000000ff", { objects: objects(1, 2) }),
      looks("00000000000000ff", { cameraId: "other" }),
      looks("00000000000000ff", { imageHash: null }),
      looks("00000000000000ff", { reuseSeconds: 0 }),
    ];
    expect((await room.admit(others)).admissions).not.toContain("reused");
    await redis.lset(
      "{vl}:verdicts:north-gate",
      0,
      String(await redis.lindex("{vl}:verdicts:north-gate", 0)).replace(/"at":[\d.e+]+/, '"at":1'),
    );
    expect((await room.admit([looks("00000000000000ff")])).admissions).not.toContain("reused");
  });
});

describe("order", () => {
  test("urgent before less urgent, cameras in turns, of a camera the newest first", async () => {
    await groups(many(10));
    const now = Date.now();
    const at = (cameraId: string, agoMs: number, score: number) =>
      anArrival({ cameraId, capturedAtMs: now - agoMs, score });
    const [a1, a2, a3, b1, urgent] = [
      at("a", 300, 0.3),
      at("a", 200, 0.3),
      at("a", 100, 0.3),
      at("b", 900, 0.3),
      at("b", 950, 0.9),
    ];
    await room.admit([a1, a2, a3, b1, urgent]);
    const { taken } = await quota.take(5);
    expect(ids(taken)).toEqual([urgent, a3, b1, a2, a1].map((arrival) => arrival.task.taskId));
  });
});

describe("leases", () => {
  test("no more than the window holds are taken, and the wait is told", async () => {
    await groups(aKeyGroup());
    await room.admit(Array.from({ length: 8 }, () => anArrival()));
    const first = await quota.take(8);
    expect(first.taken).toHaveLength(5);
    expect(first.waitMs).toBeGreaterThan(900);
    expect((await quota.take(8)).taken).toHaveLength(0);
  });

  test("groups without a living worker that holds their key get none", async () => {
    await quota.register([aKeyGroup()], LIVES);
    await room.admit([anArrival()]);
    expect((await quota.take(1)).taken).toHaveLength(0);
    await quota.hold([{ keyGroup: "group-a", keyId: "key-1" }], 60_000);
    await redis.zadd("{vl}:free", 0, "group-a");
    expect((await quota.take(1)).taken).toHaveLength(1);
  });

  test("two groups of one account share its windows", async () => {
    await groups(aKeyGroup({ account: "shared" }), aKeyGroup({ id: "group-b", account: "shared" }));
    await room.admit(Array.from({ length: 8 }, () => anArrival()));
    expect((await quota.take(8)).taken).toHaveLength(5);
  });

  test("every window counts, and so do calls in flight", async () => {
    await groups(
      aKeyGroup({
        windows: [
          { name: "requestsPerSecond", limit: 50, windowMs: 1_000 },
          { name: "requestsPerMinute", limit: 7, windowMs: 60_000 },
        ],
      }),
    );
    await room.admit(Array.from({ length: 9 }, () => anArrival()));
    expect((await quota.take(9)).taken).toHaveLength(7);
    await redis.flushall();
    await groups(aKeyGroup({ windows: [{ name: "requestsPerSecond", limit: 50, windowMs: 1_000 }], maxConcurrent: 3 }));
    await room.admit(Array.from({ length: 9 }, () => anArrival()));
    const { taken } = await quota.take(9);
    expect(taken).toHaveLength(3);
    const [one] = taken;
    if (!one) throw new Error("nothing taken");
    await quota.spend(one, "w:1", 5_000, false);
    await quota.settle(one, assessed, {
      keyGroup: one.keyGroup,
      keyId: one.keyId,
      called: true,
      ok: true,
      latencyMs: 5,
    });
    expect((await quota.take(9)).taken).toHaveLength(1);
  });

  test("those who sleep until a group is free are told when a call in flight ends: once, and only while something waits", async () => {
    await groups(aKeyGroup({ windows: [{ name: "requestsPerSecond", limit: 50, windowMs: 1_000 }], maxConcurrent: 2 }));
    await room.admit(Array.from({ length: 5 }, () => anArrival()));
    const told: string[] = [];
    const signals = redis.duplicate();
    signals.on("message", (_, message: string) => told.push(message));
    await signals.subscribe(KEYS.wake);
    const endOf = async (one: Taken) => {
      await quota.spend(one, "w:1", 5_000, false);
      const { keyGroup, keyId } = one;
      await quota.settle(one, assessed, { keyGroup, keyId, called: true, ok: true, latencyMs: 5 });
    };
    try {
      const { taken, waitMs } = await quota.take(5);
      expect(taken).toHaveLength(2);
      expect(waitMs).toBeGreaterThan(500);
      for (const one of taken) await endOf(one);
      await redis.publish(KEYS.wake, "both ended");
      const [third, fourth] = (await quota.take(5)).taken;
      if (!third || !fourth) throw new Error("the places that fell were not free");
      await endOf(third);
      const [fifth] = (await quota.take(5)).taken;
      if (!fifth) throw new Error("the place that fell was not free");
      await redis.publish(KEYS.wake, "nothing waits");
      await endOf(fourth);
      await endOf(fifth);
      await redis.publish(KEYS.wake, "all ended");
      await expect.poll(() => told.at(-1)).toBe("all ended");
      expect(told).toEqual(["", "both ended", "", "nothing waits", "all ended"]);
    } finally {
      signals.disconnect();
    }
  });

  test("the place of a call in flight outlives its worker: the provider may still be at it", async () => {
    await groups(aKeyGroup({ windows: [{ name: "requestsPerSecond", limit: 50, windowMs: 1_000 }], maxConcurrent: 1 }));
    await room.admit([anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await quota.spend(one, "w:1", 60_000, false);
    expect(await room.sweep(["w:1"])).toMatchObject({ orphaned: 1 });
    expect((await quota.take(1)).taken).toHaveLength(0);
  });

  test("a lease is spent once, and a verdict ends the task in one outcome", async () => {
    await groups(many(5));
    await room.admit([anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    expect(await quota.spend(one, "w:1", 5_000, false)).toMatchObject({ kind: "granted", attempts: 1 });
    expect(await quota.spend(one, "w:2", 5_000, false)).toMatchObject({ kind: "stale" });
    expect(await quota.settle(one, assessed, null)).toEqual({ kind: "done", word: "assessed", restMs: 0 });
    expect(await quota.settle(one, assessed, null)).toMatchObject({ kind: "stale" });
    expect(await outbox()).toMatchObject([{ outcome: "assessed", revision: "1", attempts: "1" }]);
  });

  test("one granted ahead of its place waits for it, and the window holds at the stamps", async () => {
    await groups(many(2, 500));
    await room.admit(Array.from({ length: 6 }, () => anArrival()));
    const stamps: number[] = [];
    while (stamps.length < 6) {
      const { taken, waitMs } = await quota.take(6);
      for (const one of taken) {
        expect(await quota.spend(one, "w:1", 5_000, false)).toMatchObject({ kind: "granted" });
        stamps.push(Number(await redis.hget(`{vl}:task:${one.taskId}`, "st")));
      }
      await systemClock.sleep(Math.max(waitMs ?? 0, 1));
    }
    for (let i = 2; i < stamps.length; i++) expect((stamps[i] ?? 0) - (stamps[i - 2] ?? 0)).toBeGreaterThanOrEqual(500);
    expect((stamps[5] ?? 0) - (stamps[0] ?? 0)).toBeLessThan(1_500);
  });

  test("one that lapses unspent gives all its places back and the task returns", async () => {
    await groups(many(1, 60_000));
    await room.admit([anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await redis.zadd("{vl}:leases", 1, `${one.taskId}#${one.epoch}`); // its time is over
    expect(await room.sweep()).toMatchObject({ lapsed: 1 });
    expect(await quota.spend(one, "w:1", 5_000, false)).toMatchObject({ kind: "stale" });
    const again = await quota.take(1);
    expect(again.taken).toMatchObject([{ taskId: one.taskId, epoch: 2 }]);
  });

  test("spending too late sends the task back by itself", async () => {
    await groups(many(5));
    await room.admit([anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await redis.zadd("{vl}:leases", 1, `${one.taskId}#${one.epoch}`);
    expect(await quota.spend(one, "w:1", 5_000, false)).toMatchObject({ kind: "back", became: "waiting" });
  });

  test("one that was spent is never given back", async () => {
    await groups(many(1, 60_000));
    await room.admit([anArrival(), anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await quota.spend(one, "w:1", 5_000, false);
    await quota.settle(one, { kind: "back", avoidMs: 0 }, null);
    expect((await room.counts()).waiting).toBe(2);
    expect((await quota.take(2)).taken).toHaveLength(0);
  });

  test("a cooling group gets nothing; a later, shorter cool-down does not shorten it", async () => {
    await groups(many(9));
    await room.admit([anArrival(), anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await quota.spend(one, "w:1", 5_000, false);
    const refusal = {
      keyGroup: "group-a",
      keyId: "key-1",
      called: true,
      ok: false,
      latencyMs: 5,
      code: "RATE_LIMITED",
      rateRefusal: true,
    } as const;
    await quota.settle(one, { kind: "back", avoidMs: 0 }, { ...refusal, says: coolsGroup(5_000) });
    await quota.settle(one, { kind: "back", avoidMs: 0 }, { ...refusal, says: coolsGroup(10) });
    const { taken, waitMs } = await quota.take(2);
    expect(taken).toHaveLength(0);
    expect(waitMs).toBeGreaterThan(4_000);
    expect(await quota.snapshot()).toMatchObject([{ state: "cooling", cause: "RATE_LIMITED", rejected429: 2 }]);
  });
});

describe("a process stops and wakes up", () => {
  test("a verdict is taken from any epoch, failed and back only from the present one", async () => {
    await groups(many(9));
    await room.admit([anArrival()]);
    const [old] = (await quota.take(1)).taken;
    if (!old) throw new Error("nothing taken");
    await quota.spend(old, "w:1", 5_000, false);
    expect(await room.sweep(["w:1"])).toMatchObject({ orphaned: 1 });
    const [fresh] = (await quota.take(1)).taken;
    if (!fresh) throw new Error("nothing taken");
    expect(fresh.epoch).toBe(old.epoch + 1);
    expect(
      await quota.settle(old, { kind: "failed", error: { code: "X", message: "" }, meta: {} }, null),
    ).toMatchObject({ kind: "stale" });
    expect(await quota.settle(old, { kind: "back", avoidMs: 0 }, null)).toMatchObject({ kind: "stale" });
    expect(await quota.settle(old, assessed, null)).toEqual({ kind: "done", word: "assessed", restMs: 0 });
    expect(await quota.spend(fresh, "w:2", 5_000, false)).toMatchObject({ kind: "stale" });
    expect(await outbox()).toHaveLength(1);
    expect(await room.counts()).toEqual({ waiting: 0, moving: 0, calling: 0 });
  });

  test("a call that never ends comes back when its time is over", async () => {
    await groups(many(9));
    await room.admit([anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await quota.spend(one, "w:1", 5_000, false);
    await redis.zadd("{vl}:calls", 1, one.taskId);
    expect(await room.sweep()).toMatchObject({ overdue: 1 });
    expect((await room.counts()).waiting).toBe(1);
  });

  test("what waits past its deadline expires with its outcome", async () => {
    const arrival = anArrival();
    await room.admit([arrival]);
    await redis.zadd("{vl}:deadlines", 1, arrival.task.taskId);
    expect(await room.sweep()).toMatchObject({ expired: 1 });
    expect(await outbox()).toMatchObject([{ outcome: "expired" }]);
  });
});

describe("retry by hand", () => {
  async function aFailedTask() {
    await groups(many(9));
    await room.admit([anArrival()]);
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    await quota.spend(one, "w:1", 5_000, false);
    await quota.settle(one, { kind: "failed", error: { code: "VERDICT_UNREADABLE", message: "" }, meta: {} }, null);
    return one;
  }

  test("reopens only what failed, as a new revision with a fresh deadline", async () => {
    const one = await aFailedTask();
    expect(await room.reopen(one.taskId)).toEqual({ revision: 2, epoch: 2 });
    await expect(room.reopen(one.taskId)).rejects.toMatchObject({ code: "NOT_FAILED" });
    const [again] = (await quota.take(1)).taken;
    if (!again) throw new Error("nothing taken");
    expect(again.remainingMs).toBeGreaterThan(58_000);
    await quota.spend(again, "w:1", 5_000, false);
    await quota.settle(again, assessed, null);
    expect((await outbox()).map((entry) => [entry.outcome, entry.revision])).toEqual([
      ["failed", "1"],
      ["assessed", "2"],
    ]);
    await expect(room.reopen("nobody")).rejects.toMatchObject({ code: "NO_SUCH_TASK" });
  });

  test("says when the crop is gone", async () => {
    room = createWaitingRoom(redis, { maxWaiting: 10, hasImage: async () => false });
    await groups(many(9));
    await room.admit([
      anArrival({ imageUrl: "vigilane:images/a/2026010100/x.jpg" }, { failed: { code: "X", message: "" } }),
    ]);
    const [entry] = await outbox();
    await expect(room.reopen(entry?.id ?? "")).rejects.toMatchObject({ code: "IMAGE_GONE" });
  });
});

test("the store's clock stepping back 60 s neither stops the calls for long nor lets a window be exceeded", async () => {
  await groups(many(3));
  await room.admit(Array.from({ length: 6 }, () => anArrival({ freshnessSeconds: 0 })));
  expect((await quota.take(6)).taken).toHaveLength(3);
  const [seconds] = await redis.time();
  const ahead = Number(seconds) * 1000 + 60_000;
  // As if all of this had been stamped by a clock that was a minute ahead.
  await redis.set("{vl}:clock", ahead);
  const stamps = await redis.zrange("{vl}:window:group-a:requests:sliding:1000", "0", "-1");
  for (const lease of stamps) await redis.zadd("{vl}:window:group-a:requests:sliding:1000", ahead, lease);
  expect((await quota.take(6)).taken).toHaveLength(0);
  expect(await redis.hget("{vl}:counters", "clockSteps")).toBe("1");
  await groups(many(3)); // its worker says again that it lives
  await redis.zadd("{vl}:free", 0, "group-a");
  const { taken, waitMs } = await quota.take(6);
  expect(taken).toHaveLength(0);
  expect(waitMs).toBeGreaterThan(500);
  expect(waitMs).toBeLessThan(1_100);
});

test("a group that was slow once gets the call by which it can show that it is not", async () => {
  await groups(many(9));
  await redis.hset("{vl}:group:group-a", { median: 3_100, medianAt: Date.now() });
  await room.admit([anArrival({ freshnessSeconds: 3 })]);
  expect((await quota.take(1)).taken).toHaveLength(0);
  await redis.hset("{vl}:group:group-a", { medianAt: Date.now() - 31_000 });
  expect((await quota.take(1)).taken).toHaveLength(1);
});

test("only so many failed tasks keep what a retry needs; the oldest say so", async () => {
  const arrivals = Array.from({ length: 5_002 }, () =>
    anArrival({}, { failed: { code: "IMAGE_MISSING", message: "none" } }),
  );
  await room.admit(arrivals);
  const first = arrivals.slice(0, 100).map((arrival) => arrival.task.taskId); // admitted, and so failed, together
  const kept = await Promise.all(first.map((id) => redis.hexists(`{vl}:task:${id}`, "json")));
  const dropped = first.filter((_, i) => kept[i] === 0);
  expect(dropped).toHaveLength(2);
  await expect(room.reopen(dropped[0] ?? "")).rejects.toMatchObject({
    code: "NOT_FAILED",
    message: expect.stringContaining("too old"),
  });
  expect(await room.reopen(arrivals.at(-1)?.task.taskId ?? "")).toMatchObject({ revision: 2 });
  expect(await redis.zcard("{vl}:failed")).toBe(4_999);
});

test("an ending told twice is done twice, and a job that was not told that it failed is", async () => {
  await groups(many(9));
  await room.admit([anArrival()]);
  const [one] = (await quota.take(1)).taken;
  if (!one) throw new Error("nothing taken");
  await quota.spend(one, "w:1", 5_000, false);
  const failed = { kind: "failed", error: { code: "X", message: "" }, meta: {} } as const;
  expect(await quota.settle(one, failed, null)).toEqual({ kind: "done", word: "failed", restMs: 0 });
  expect(await quota.settle(one, failed, null)).toEqual({ kind: "done", word: "failed", restMs: 0 });
  expect(await quota.spend(one, "w:1", 5_000, true)).toEqual({ kind: "failed" });
  expect(await outbox()).toHaveLength(1);
});

test("a verdict of an older taking names the group and the moment of its own call", async () => {
  await groups(many(9), aKeyGroup({ id: "group-b" }));
  await room.admit([anArrival()]);
  const [old] = (await quota.take(1)).taken;
  if (!old) throw new Error("nothing taken");
  const spent = await quota.spend(old, "w:1", 5_000, false);
  if (spent.kind !== "granted") throw new Error(spent.kind);
  await room.sweep(["w:1"]);
  const [fresh] = (await quota.take(1)).taken;
  if (!fresh) throw new Error("nothing taken");
  expect(fresh.keyGroup).not.toBe(old.keyGroup);
  await quota.spend(fresh, "w:2", 5_000, false);
  const { keyGroup, keyId } = old;
  await quota.settle(old, assessed, {
    keyGroup,
    keyId,
    called: true,
    ok: true,
    latencyMs: 9,
    startedAt: spent.startedAt,
  });
  expect(await outbox()).toMatchObject([{ keyGroup: old.keyGroup, startedAt: spent.startedAt }]);
});

test("the snapshot of a thousand key groups is one command", async () => {
  await groups(...Array.from({ length: 1_000 }, (_, i) => aKeyGroup({ id: `idle-${i}` })));
  const scripts = async () => Number(/cmdstat_evalsha:calls=(\d+)/.exec(await redis.info("commandstats"))?.[1]);
  await quota.snapshot(); // the script is known from here on
  const before = await scripts();
  expect(await quota.snapshot()).toHaveLength(1_000);
  expect((await scripts()) - before).toBe(1);
});
