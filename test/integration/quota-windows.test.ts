/**
 * Quota windows in a real redis-server, its own time: several clients at once over groups that share accounts, each kind and
 * unit; removed and renamed groups; days that run out; clocks that step back; and how much of the store a window takes.
 */
import type { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { KeyGroup } from "../../src/queues/key-groups.ts";
import type { Quota, Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import type { QuotaWindow } from "../../src/queues/window.ts";
import { connectStore } from "../../src/store.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";
import { exceeds, type ModelCall } from "../support/window-model.ts";

const silent = { clock: systemClock, log: pino({ level: "silent" }) };
let server: TestRedis;
let redis: Redis;
let room: WaitingRoom;
let quota: Quota;

beforeAll(async () => {
  server = await startRedis();
  redis = await connectStore(server.url, silent);
});
afterAll(async () => {
  redis?.disconnect();
  await server?.stop();
});
beforeEach(async () => {
  await redis.flushall();
  room = createWaitingRoom(redis, { maxWaiting: 5_000 });
  quota = createQuota(redis, systemClock);
});

async function groups(...all: KeyGroup[]) {
  await quota.register(all, LIVES);
  await quota.hold(
    all.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id }))),
    600_000,
  );
}
const group = (window: Omit<QuotaWindow, "name">, over: Partial<KeyGroup> = {}) =>
  aKeyGroup({ windows: [{ name: "w", ...window }], ...over });
const waiting = (n: number) => room.admit(Array.from({ length: n }, () => anArrival({ freshnessSeconds: 0 })));
const reserved = async ({ taskId, epoch }: Taken) => Number(await redis.hget(`{vl}:lease:${taskId}#${epoch}`, "n"));
const told = (lease: Taken, tokens?: number) => ({
  ...{ keyGroup: lease.keyGroup, keyId: lease.keyId, called: true, ok: true, latencyMs: 5 },
  ...(tokens !== undefined && { tokens }),
});
const assessed = { kind: "assessed", verdict: {}, meta: {} } as const;
const used = async () => (await quota.snapshot()).map(({ windows }) => windows.map((window) => window.used));

describe("several clients at once", () => {
  const kinds: [string, QuotaWindow[]][] = [
    [
      "sliding",
      [
        { name: "a", limit: 5, windowMs: 120 },
        { name: "b", limit: 9, windowMs: 400 },
      ],
    ],
    ["fixed", [{ name: "a", limit: 6, windowMs: 150, kind: "fixed" }]],
    ["bucket", [{ name: "a", limit: 5, windowMs: 200, kind: "bucket" }]],
    ["sliding tokens", [{ name: "a", limit: 12_000, windowMs: 150, unit: "tokens" }]],
    [
      "fixed and bucket of tokens",
      [
        { name: "a", limit: 15_000, windowMs: 200, unit: "tokens", kind: "fixed" },
        { name: "b", limit: 15_000, windowMs: 150, unit: "tokens", kind: "bucket" },
      ],
    ],
  ];
  const ENOUGH_CALLS = 20;
  test.each(kinds)(
    "%s: no window is exceeded at the stamps, whatever lapses, dies or is never told",
    async (_name, windows) => {
      const [first = { name: "a", limit: 1, windowMs: 1 }, ...others] = windows;
      await groups(
        aKeyGroup({ id: "one", account: "shared", windows: [first] }),
        aKeyGroup({
          id: "two",
          account: "shared",
          windows: others.length > 0 ? others : [{ ...first, limit: first.limit + 3, name: "wider" }],
        }),
      );
      await waiting(400);
      const calls: ModelCall[] = [];
      const connections = await Promise.all([1, 2, 3].map(() => connectStore(server.url, silent)));
      const from = systemClock.monotonicMs();
      // Over a second at least, and until enough was called on a busy machine too.
      const goesOn = () => {
        const ms = systemClock.monotonicMs() - from;
        return ms < 1_200 || (calls.length <= ENOUGH_CALLS && ms < 20_000);
      };
      await Promise.all(
        connections.map(async (connection, nth) => {
          const own = createQuota(connection, systemClock);
          for (let turn = 0; goesOn(); turn++) {
            const { taken, waitMs } = await own.take(3);
            await Promise.all(taken.map((lease, i) => fate(own, lease, turn + i + nth, calls)));
            if (turn % 4 === nth)
              await createWaitingRoom(connection, { maxWaiting: 5_000 }).sweep(turn % 8 === nth ? [`w:${nth}`] : []);
            if (taken.length === 0) await systemClock.sleep(Math.max(1, Math.min(waitMs ?? 5, 20)));
          }
        }),
      );
      for (const connection of connections) connection.disconnect();
      expect(calls.length).toBeGreaterThan(ENOUGH_CALLS);
      for (const window of windows)
        for (const call of calls)
          expect(
            exceeds(
              calls.filter((one) => one !== call),
              window,
              call,
            ),
            JSON.stringify({ window, call }),
          ).toBe(false);
    },
  );

  /** What becomes of a lease: it may be forgotten before or after it is spent, told of with less than was reserved, sent back. */
  async function fate(own: Quota, lease: Taken, chance: number, calls: ModelCall[]) {
    if (chance % 7 === 3) {
      await redis.zadd("{vl}:leases", "XX", 1, `${lease.taskId}#${lease.epoch}`); // its time is over
      return;
    }
    const tokens = await reserved(lease);
    const answer = await own.spend(lease, `w:${chance % 3}`, 5_000, false);
    if (answer.kind !== "granted") return;
    const call = { atMs: Number(answer.startedAt), tokens };
    calls.push(call);
    if (chance % 5 === 1) return;
    if (chance % 5 === 2) return void (await own.settle(lease, { kind: "back", avoidMs: 0 }, told(lease)));
    call.tokens = Math.round(tokens * 0.6); // from here on others may count on it
    await own.settle(lease, assessed, told(lease, call.tokens));
  }
});

describe("tokens", () => {
  test("a lease reserves the most that its call may take, and the answer's usage is put for it", async () => {
    await groups(group({ limit: 4_400, windowMs: 60_000, unit: "tokens" }));
    await waiting(5);
    const { taken } = await quota.take(5);
    const each = await Promise.all(taken.map(reserved));
    expect(taken).toHaveLength(2);
    expect(await used()).toEqual([[each.reduce((a, b) => a + b)]]);
    expect(await quota.snapshot()).toMatchObject([{ waitsFor: { window: "w", leftMs: expect.any(Number) } }]);
    const [one, two] = taken;
    if (!one || !two) throw new Error("nothing taken");
    await quota.spend(one, "w:1", 5_000, false);
    await quota.settle(one, assessed, told(one, 400));
    expect(await used()).toEqual([[400 + (each[1] ?? 0)]]);
    expect((await quota.take(5)).taken).toHaveLength(1); // what was too much is free at once
    await quota.spend(two, "w:1", 5_000, false);
    await quota.settle(two, assessed, told(two, 9_000)); // honestly more
    expect((await used())[0]?.[0]).toBeGreaterThan(9_400);
    expect((await quota.take(5)).taken).toHaveLength(0);
  });

  test("an answer that says nothing of tokens leaves what was reserved, and told twice counts once", async () => {
    await groups(group({ limit: 9_000, windowMs: 60_000, unit: "tokens" }));
    await waiting(2);
    const [one, two] = (await quota.take(2)).taken;
    if (!one || !two) throw new Error("nothing taken");
    for (const lease of [one, two]) await quota.spend(lease, "w:1", 5_000, false);
    await quota.settle(one, assessed, told(one));
    const [[before = 0] = []] = await used();
    expect(before).toBeGreaterThan(3_000);
    await quota.settle(two, assessed, told(two, 100));
    const after = await used();
    await quota.settle(two, assessed, told(two, 50));
    expect(await used()).toEqual(after);
  });

  test("a call that needs more than the window holds is let in when the window is empty", async () => {
    await groups(group({ limit: 500, windowMs: 60_000, unit: "tokens" }));
    await waiting(2);
    expect((await quota.take(2)).taken).toHaveLength(1);
  });
});

describe("calendar days", () => {
  const day: Omit<QuotaWindow, "name"> = {
    limit: 2,
    windowMs: 86_400_000,
    kind: "calendar",
    zone: "America/Los_Angeles",
  };

  test("the registration tells the days to come; past the last one that is known nothing is called", async () => {
    await groups(group(day));
    await waiting(5);
    const [seconds] = await redis.time();
    const starts = String(await redis.hget("{vl}:calendar", "America/Los_Angeles"))
      .split(",")
      .map(Number);
    expect(starts.filter((start) => start > Number(seconds) * 1_000)).toHaveLength(8);
    expect((await quota.take(5)).taken).toHaveLength(2);
    const [begun = 0] = starts.filter((start) => start <= Number(seconds) * 1_000).slice(-1);
    await redis.hset("{vl}:calendar", "America/Los_Angeles", `${begun - 86_400_000},${begun}`);
    await redis.del("{vl}:window:group-a:requests:calendar:86400000:America/Los_Angeles");
    await redis.zadd("{vl}:free", 0, "group-a");
    expect((await quota.take(5)).taken).toHaveLength(0); // a fresh day, for all that is known, but whose?
    await quota.renewCalendar([group(day)]);
    await redis.zadd("{vl}:free", 0, "group-a");
    expect((await quota.take(5)).taken).toHaveLength(2);
  });

  test("a call within the guard of midnight counts on both sides of it", async () => {
    await groups(group(day));
    await waiting(9);
    const [seconds, micros] = await redis.time();
    const nowMs = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
    const midnight = nowMs + 200;
    await redis.hset("{vl}:group:group-a", "guard", 250);
    await redis.hset(
      "{vl}:calendar",
      "America/Los_Angeles",
      [midnight - 86_400_000, midnight, midnight + 86_400_000].join(","),
    );
    expect((await quota.take(9)).taken).toHaveLength(2);
    await systemClock.sleep(220);
    await redis.zadd("{vl}:free", 0, "group-a");
    expect((await quota.take(9)).taken).toHaveLength(0);
  });
});

describe("removed and renamed groups", () => {
  const slow = { limit: 3, windowMs: 60_000 };

  test("what was taken and not begun goes back through the one door, its places too; what was spent stays counted", async () => {
    await groups(group(slow, { id: "old", account: "acme" }), group({ limit: 1, windowMs: 60_000 }, { id: "other" }));
    await redis.zrem("{vl}:free", "other");
    await waiting(4);
    const [spent, ...unspent] = (await quota.take(3)).taken;
    if (!spent) throw new Error("nothing taken");
    await quota.spend(spent, "w:1", 5_000, false);
    await quota.markQueued(unspent.slice(0, 1));
    await groups(group(slow, { id: "new", account: "acme" }));
    expect(await room.counts()).toEqual({ waiting: 3, moving: 0, calling: 1 });
    for (const lease of unspent) expect(await quota.spend(lease, "w:1", 5_000, false)).toMatchObject({ kind: "stale" });
    const { taken } = await quota.take(9);
    expect(taken.map(({ keyGroup }) => keyGroup)).toEqual(["new", "new"]); // the third place is that of the spent one
    for (const lease of taken) {
      await quota.spend(lease, "w:1", 5_000, false);
      await quota.settle(lease, assessed, told(lease));
    }
    await quota.settle(spent, assessed, told(spent));
    const ended = (await redis.xrange("{vl}:outbox", "-", "+")).map(([, fields]) => fields[fields.indexOf("id") + 1]);
    expect(new Set(ended).size).toBe(3);
    expect(ended).toHaveLength(3);
    expect((await room.counts()).waiting).toBe(1);
  });

  test("away and back again is no fresh quota", async () => {
    for (const kind of ["sliding", "fixed", "bucket"] as const) {
      await redis.flushall();
      await groups(group({ ...slow, windowMs: 3_600_000, kind }));
      await waiting(9);
      for (const lease of (await quota.take(9)).taken) await quota.spend(lease, "w:1", 5_000, false);
      await groups(aKeyGroup({ id: "another" }));
      await groups(group({ ...slow, windowMs: 3_600_000, kind }));
      expect((await quota.take(9)).taken, kind).toHaveLength(0);
    }
  });

  test("it stays listed until its queue is empty, and its jobs are given to any worker", async () => {
    await groups(group(slow, { id: "old" }));
    await redis.rpush("{vl}:assess-old:wait", "job");
    await groups(group(slow, { id: "new" }));
    await redis.zadd("{vl}:leaving", 1, "old"); // some time ago
    await room.sweep();
    expect((await quota.snapshot()).map(({ id, state }) => [id, state])).toEqual([
      ["new", "available"],
      ["old", "removed"],
    ]);
    expect(await quota.leaving()).toEqual(["old"]);
    await redis.del("{vl}:assess-old:wait");
    await room.sweep();
    expect((await quota.snapshot()).map(({ id }) => id)).toEqual(["new"]);
    expect(await redis.exists("{vl}:group:old")).toBe(0);
  });

  test("a place given back wakes every group of the account", async () => {
    const ids = ["one", "two"].map((id) => group({ limit: 1, windowMs: 60_000 }, { id, account: "acme" }));
    await groups(...ids);
    await waiting(2);
    const [lease] = (await quota.take(2)).taken;
    if (!lease) throw new Error("nothing taken");
    expect((await quota.take(2)).waitMs).toBeGreaterThan(50_000);
    await redis.zadd("{vl}:leases", 1, `${lease.taskId}#${lease.epoch}`);
    await room.sweep();
    expect(Number(await redis.zscore("{vl}:free", "one"))).toBeLessThan(Date.now() + 1_000);
    expect(Number(await redis.zscore("{vl}:free", "two"))).toBeLessThan(Date.now() + 1_000);
  });
});

test("what a window takes of the store does not grow with its limit, but for exact logs, which grow by the call", async () => {
  const sizes: Record<string, { calls: number; bytes: number }> = {};
  for (const [name, window, most] of [
    ["sliding minute of requests", { windowMs: 60_000 }, 250],
    ["sliding minute of tokens", { windowMs: 60_000, unit: "tokens" }, 400],
    ["sliding day of requests", { windowMs: 86_400_000 }, 2],
    ["sliding day of tokens", { windowMs: 86_400_000, unit: "tokens" }, 2],
    ["fixed minute", { windowMs: 60_000, kind: "fixed" }, 2],
    ["calendar day", { windowMs: 86_400_000, kind: "calendar", zone: "America/Los_Angeles" }, 2],
    ["bucket of a minute", { windowMs: 60_000, kind: "bucket" }, 2],
  ] as [string, Omit<QuotaWindow, "name" | "limit">, number][]) {
    await redis.flushall();
    await groups(group({ ...window, limit: 1_000_000_000 }));
    await waiting(150);
    const { taken } = await quota.take(150);
    await Promise.all(taken.map((lease) => quota.spend(lease, "w:1", 5_000, false)));
    await Promise.all(taken.map((lease) => quota.settle(lease, assessed, told(lease, 700))));
    expect(await redis.keys("{vl}:lease:*")).toEqual([]);
    const keys = (await redis.keys("{vl}:window:*")).filter((key) => !key.endsWith(":r"));
    const bytes = (await Promise.all(keys.map((key) => redis.memory("USAGE", key)))).reduce<number>(
      (sum, n) => sum + Number(n),
      0,
    );
    sizes[name] = { calls: taken.length, bytes };
    expect(bytes, name).toBeLessThan(most > 100 ? taken.length * most : 1_500);
  }
  // A sliding day's log when every one of its slices holds something.
  const key = "{vl}:window:full:requests:sliding:86400000";
  for (let i = 0; i < 290; i++) {
    await redis.zadd(key, (5_900_000 + i) * 300_000, 5_900_000 + i);
    await redis.hset(`${key}:n`, 5_900_000 + i, 12_345);
  }
  const full = Number(await redis.memory("USAGE", key)) + Number(await redis.memory("USAGE", `${key}:n`));
  expect(full).toBeLessThan(60_000);
  console.log(JSON.stringify({ ...sizes, "sliding day, all its slices in use": { bytes: full } }));
});
