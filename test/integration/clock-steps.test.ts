/**
 * The store's clock steps back by an hour, in a real store whose clock the test steers: nothing that was stamped before stays
 * an hour long in the future.
 */
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { KeyGroupChange, type KeyState } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { createKeyGroupHistory } from "../../src/queues/key-group-history.ts";
import type { KeyGroup } from "../../src/queues/key-groups.ts";
import type { Quota, Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { type SteeredStore, startSteeredStore } from "../support/steered-store.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

const HOUR_MS = 3_600_000;
const CALL_MS = 5_000;

let store: SteeredStore;
let room: WaitingRoom;
let quota: Quota;
beforeAll(async () => {
  store = await startSteeredStore(Date.parse("2026-03-01T12:00:00Z"));
});
afterAll(() => store?.stop());
beforeEach(async () => {
  await store.redis.flushall();
  room = createWaitingRoom(store.redis, { maxWaiting: 1_000 });
  quota = createQuota(store.redis, store.clock);
});

const later = (ms: number) => store.set(store.nowMs() + ms);
const hold = (...all: KeyGroup[]) =>
  quota.hold(
    all.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id }))),
    2 * HOUR_MS,
  );
const admit = (count: number, over = {}) =>
  room.admit(
    Array.from({ length: count }, () => anArrival({ freshnessSeconds: 0, capturedAtMs: store.nowMs(), ...over })),
  );
async function take(most: number, count = most): Promise<Taken[]> {
  const { taken } = await quota.take(most);
  expect(taken).toHaveLength(count);
  return taken;
}

/** The store sees it at its next step; workers say again that they live. */
async function stepBack(...groups: KeyGroup[]) {
  store.set(store.nowMs() - HOUR_MS);
  await quota.stirring(0, false);
  expect(await store.redis.hget("{vl}:counters", "clockSteps")).toBe("1");
  await hold(...groups);
}

test("changes of key groups are noted on, whoever looks", async () => {
  const group = aKeyGroup();
  await quota.register([group], LIVES);
  await hold(group);
  const history = createKeyGroupHistory(store.redis);
  const states = async () =>
    (await store.redis.xrange(KEYS.keyGroupChanges, "-", "+")).map(
      ([id, [, json = ""]]): KeyState => KeyGroupChange.parse({ id, ...JSON.parse(json) }).to,
    );
  await history.note(await quota.snapshot(), store.nowMs(), true);
  await stepBack(group);
  await quota.hold([{ keyGroup: "group-a", keyId: "key-1" }], 0);
  await history.note(await quota.snapshot(), store.nowMs(), true);
  expect(await states()).toEqual(["unmanned"]);
  later(1_000);
  await hold(group);
  await history.note(await quota.snapshot(), store.nowMs(), true);
  expect(await states()).toEqual(["unmanned", "available"]);
});

test("the place of a call that never ends falls with its own time-out", async () => {
  const group = aKeyGroup({ maxConcurrent: 1 });
  await quota.register([group], LIVES);
  await hold(group);
  await admit(2);
  const [lease] = await take(1);
  if (!lease) throw new Error("not taken");
  expect((await quota.spend(lease, "w:1", CALL_MS, false)).kind).toBe("granted");
  await stepBack(group);
  await take(1, 0); // the provider may still be at it
  later(CALL_MS + 2_000);
  await take(1);
});

test("urgent tasks of long ago are forgotten: nothing is held back for them", async () => {
  const group = aKeyGroup({ windows: [{ name: "requestsPerMinute", limit: 10, windowMs: 60_000 }] });
  await quota.register([group], { ...LIVES, routing: { strategy: "round_robin", reserve: 0.5 } });
  await hold(group);
  await admit(6, { score: 0.9 });
  await take(6);
  await admit(20);
  await take(10, 0); // the four places that are left are kept for urgent ones
  await stepBack(group);
  later(20 * 60_000);
  expect(await room.sweep()).toMatchObject({ lapsed: 6 });
  later(5_000); // it rests for a moment, since leases of it lapsed
  await take(20, 10);
});

test("a worker at rest is woken, one that nothing was given to rests", async () => {
  const group = aKeyGroup();
  await quota.register([group], LIVES);
  await hold(group);
  await admit(2);
  await take(1);
  await stepBack(group);
  later(60_000);
  expect(await quota.stirring(55_000, false)).toEqual([]);
  const signals = await store.connect();
  onTestFinished(() => signals.disconnect());
  await signals.subscribe(KEYS.wakeWorker);
  const woken = new Promise((resolve) => signals.once("message", (_channel, group) => resolve(group)));
  await take(1);
  expect(await woken).toBe("group-a");
});

test("a key that lapses is noticed, though it was held in a future that is no more", async () => {
  const group = aKeyGroup();
  await quota.register([group], LIVES);
  const holdFor = (ms: number) => quota.hold([{ keyGroup: group.id, keyId: "key-1" }], ms);
  const others = async () => (await quota.look([])).others;
  await holdFor(6_000);
  await others();
  await stepBack();
  await holdFor(6_000);
  const held = await others();
  later(3_000);
  expect(await others()).toBe(held);
  later(4_000);
  expect(await others()).not.toBe(held);
});

test("a removed group is forgotten when its queue is empty; what it waited for is not told on", async () => {
  const [a, b] = [aKeyGroup({ windows: [{ name: "w", limit: 1, windowMs: HOUR_MS }] }), aKeyGroup({ id: "group-b" })];
  await quota.register([a, b], LIVES);
  await hold(a);
  await admit(2);
  await take(2, 1);
  expect((await quota.snapshot())[0]?.waitsFor).not.toBeNull();
  await quota.register([b], LIVES);
  await stepBack(b);
  expect((await quota.snapshot()).map(({ id, waitsFor }) => [id, waitsFor])).toEqual([
    ["group-a", null],
    ["group-b", null],
  ]);
  later(11_000);
  await room.sweep();
  expect((await quota.snapshot()).map(({ id }) => id)).toEqual(["group-b"]);
});

test("images live no longer than without it, and failed tasks keep their order", async () => {
  await quota.register([aKeyGroup()], LIVES);
  const fails = { failed: { code: "IMAGE_MISSING", message: "none" } } as const;
  const [early, late] = [1, 2].map((n) => anArrival({ imageUrl: `vigilane:images/a/2026030112/${n}.jpg` }, fails));
  if (!early || !late) throw new Error("two were made");
  await room.admit([early]);
  await stepBack();
  await room.admit([late]);
  expect(await store.redis.zrange("{vl}:failed", "0", "-1")).toEqual([early.task.taskId, late.task.taskId]);
  const until = Math.max(
    ...(await store.redis.zrange("{vl}:images", "0", "-1", "WITHSCORES")).map(Number).filter(Boolean),
  );
  expect(until).toBe(store.nowMs() + LIVES.failedRecordMs);
});

test("what only looks keeps the clock once a second, and writes nothing else", async () => {
  const groups = [
    aKeyGroup(),
    aKeyGroup({ id: "group-b", windows: [{ name: "t", limit: 9, windowMs: 1_000, unit: "tokens" }] }),
  ];
  await quota.register(groups, LIVES);
  await hold(...groups);
  expect(await room.sweep()).toMatchObject({ idle: true });
  const changes = async () =>
    Number(/rdb_changes_since_last_save:(\d+)/.exec(await store.redis.info("persistence"))?.[1]);
  const lookAround = async () => {
    await room.sweep();
    await quota.stirring(55_000, true);
    await quota.look(groups.map(({ id }) => id));
    await take(0);
  };
  await lookAround();
  const before = await changes();
  await lookAround();
  expect(await changes()).toBe(before);
  later(1_500);
  await lookAround();
  expect(await changes()).toBe(before + 1);
  await admit(1, { freshnessSeconds: 10 });
  expect(await room.sweep()).toMatchObject({ idle: false });
});
