/** Key groups as people see them: facts of each group and key from the store's record, and the history of their states. */
import type { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { KEPT_KEY_GROUP_CHANGES, KeyGroupChange, KeyGroupEvent, type KeyState } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { createKeyGroupHistory } from "../../src/queues/key-group-history.ts";
import type { KeyGroup } from "../../src/queues/key-groups.ts";
import type { CallFeedback, Quota } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import { snapshotPublisher } from "../../src/roles/key-group-snapshots.ts";
import { connectStore } from "../../src/store.ts";
import { keyGroup } from "../support/page-scenes.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, coolsGroup, LIVES, refusesKey } from "../support/tasks.ts";

let server: TestRedis;
let redis: Redis;
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
  quota = createQuota(redis, systemClock);
});

const hold = (...all: KeyGroup[]) =>
  quota.hold(
    all.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id }))),
    60_000,
  );

/** A group of two keys at five calls a minute: room for all that these tests call, and soon full. */
const group = () =>
  aKeyGroup({
    windows: [{ name: "requestsPerMinute", limit: 5, windowMs: 60_000 }],
    keys: [
      { id: "key-1", secret: "s3cr3t-1", weight: 1 },
      { id: "key-2", secret: "s3cr3t-2", weight: 1 },
    ],
  });

/** Calls with the next lease; what is told of the call ends it. */
async function call(told: Partial<CallFeedback> | null = {}) {
  const room = createWaitingRoom(redis, { maxWaiting: 100 });
  await room.admit([anArrival()]);
  const [lease] = (await quota.take(1)).taken;
  if (!lease) throw new Error("nothing taken");
  await quota.spend(lease, "w:1", 5_000, false);
  if (told === null) return lease;
  const { keyGroup: of, keyId } = lease;
  const learned = { keyGroup: of, keyId, called: true, ok: !told.code, latencyMs: 100, ...told };
  await quota.settle(lease, { kind: "back", avoidMs: 0 }, learned);
  await redis.del("{vl}:wait", ...(await redis.keys("{vl}:wait*")));
  return lease;
}

const changes = async () =>
  (await redis.xrange(KEYS.keyGroupChanges, "-", "+")).map(([id, fields]) =>
    KeyGroupChange.parse({ ...JSON.parse(fields[1] ?? ""), id }),
  );
const told = (all: readonly KeyGroupChange[]) =>
  all.map(({ keyGroup: of, keyId, from, to, cause }) => [keyId ? `${of}/${keyId}` : of, from, to, cause]);

test("a group's facts: keys by id and never a secret, latencies, refusals by cause, guard, and the window that it waits for", async () => {
  await quota.register([group()], LIVES);
  await hold(group());
  for (const latencyMs of [400, 700, 1_500]) await call({ latencyMs });
  await call({ code: "RATE_LIMITED", rateRefusal: true, cameTooEarly: true });
  const running = await call(null);
  await createWaitingRoom(redis, { maxWaiting: 100 }).admit([anArrival()]);
  expect((await quota.take(1)).taken).toEqual([]);
  const [event] = await quota.snapshot();
  expect(KeyGroupEvent.parse(event)).toMatchObject({
    ...{ id: "group-a", account: "group-a", state: "in_use", inFlight: 1, calls: 5, ok: 3, rejected429: 1 },
    ...{ failures: { RATE_LIMITED: 1 }, medianLatencyMs: 700, p95LatencyMs: 1_500 },
    latency: { counts: [1, 1, 1, 0, 0, 0, 0], sumMs: 2_600 },
    windows: [{ name: "requestsPerMinute", used: 5, limit: 5 }],
    waitsFor: { window: "requestsPerMinute" },
  });
  expect(event?.waitsFor?.leftMs).toBeGreaterThan(50_000);
  expect(event?.waitsFor?.leftMs).toBeLessThan(60_300);
  expect(event?.guardMs).toBeCloseTo(25 - 3 * 0.07 + 9.93, 1);
  const keys = event?.keys ?? [];
  expect(keys.map(({ id, state }) => [id, state]).toSorted()).toEqual(
    ["key-1", "key-2"].map((id) => [id, id === running.keyId ? "in_use" : "available"]),
  );
  const sum = (count: (key: (typeof keys)[number]) => number) => keys.reduce((all, key) => all + count(key), 0);
  expect([sum((key) => key.calls), sum((key) => key.ok), sum((key) => key.failed)]).toEqual([5, 3, 1]);
  expect(JSON.stringify(event)).not.toContain("s3cr3t");
  expect(await redis.hget(KEYS.counters, "calledAgain")).toBe("4");
});

test("what the provider meant is kept beside the error code: in the group's state, in its counts and in the history", async () => {
  await quota.register([group()], LIVES);
  await hold(group());
  const publish = snapshotPublisher(quota, redis);
  await publish();
  const out = (reason: string, probes: CallFeedback["probes"] = []) => {
    const says = {
      group: { kind: "refused", firstMs: 60_000, untilInMs: null },
      key: { kind: "returned" },
      cools: "group",
    } as const;
    return call({ code: "QUOTA_EXHAUSTED", reason, says, probes });
  };
  const soonAgain = async () => {
    await redis.hset("{vl}:group:group-a", "probeAt", 0, "coolUntil", 0);
    await redis.zadd("{vl}:free", 0, "group-a");
  };
  await call({ code: "RATE_LIMITED", reason: "tokens", says: coolsGroup(30_000) });
  await publish();
  expect((await quota.snapshot())[0]).toMatchObject({ state: "cooling", cause: "RATE_LIMITED", reason: "tokens" });
  await soonAgain();
  await publish();
  await out("day");
  await publish();
  await soonAgain();
  const { keyId } = await out("balance", ["group"]);
  await publish();
  await publish();
  const [event] = await quota.snapshot();
  expect(event).toMatchObject({
    ...{ state: "disabled", cause: "QUOTA_EXHAUSTED", reason: "balance", cools: "group" },
    failures: { RATE_LIMITED: 1, QUOTA_EXHAUSTED: 2 },
    refusals: { RATE_LIMITED: { tokens: 1 }, QUOTA_EXHAUSTED: { day: 1, balance: 1 } },
  });
  expect(event?.keys.find(({ id }) => id === keyId)).toMatchObject({ state: "disabled", reason: "balance" });
  expect((await changes()).map(({ to, cause, reason }) => [to, cause, reason])).toEqual([
    ["cooling", "RATE_LIMITED", "tokens"],
    ["available", null, null],
    ["disabled", "QUOTA_EXHAUSTED", "day"],
    ["disabled", "QUOTA_EXHAUSTED", "balance"],
  ]);

  // An older worker says the code alone, and leaves the reason of another one where it was.
  await redis.hset("{vl}:group:group-a", "cause", "MODEL_REFUSED");
  expect((await quota.snapshot())[0]).toMatchObject({ cause: "MODEL_REFUSED", reason: null });
});

test("an older bridge, which knows no reasons, and a newer one do not note the same trouble again and again", async () => {
  const history = createKeyGroupHistory(redis);
  const seen = (reason: string | null) => [
    keyGroup(1, { state: "disabled", cause: "QUOTA_EXHAUSTED", reason, keys: [] }),
  ];
  await history.note([keyGroup(1, { keys: [] })], 1_000, true);
  await history.note(seen(null), 2_000, true);
  await history.note(seen("day"), 3_000, true);
  await createKeyGroupHistory(redis).note(seen("day"), 4_000, true);
  expect((await changes()).map(({ cause, reason }) => [cause, reason])).toEqual([["QUOTA_EXHAUSTED", null]]);
});

test("calls at once have their limit beside them, over all groups of the account; without a limit there is none", async () => {
  const [a, b] = ["a", "b"].map((id) => ({ ...group(), id, account: "one", maxConcurrent: 3 }));
  const free = { ...group(), id: "free", account: "another" };
  await quota.register(
    [a, b, free].filter((one) => one !== undefined),
    LIVES,
  );
  const seen = async () =>
    Object.fromEntries(
      (await quota.snapshot()).map(({ id, concurrency }) => [id, KeyGroupEvent.shape.concurrency.parse(concurrency)]),
    );
  expect(await seen()).toEqual({ a: { limit: 3, used: 0 }, b: { limit: 3, used: 0 }, free: null });
  await hold(...[a, b].filter((one) => one !== undefined));
  const first = await call(null);
  await call(null);
  expect(await seen()).toMatchObject({ a: { limit: 3, used: 2 }, b: { limit: 3, used: 2 } });
  await quota.settle(
    first,
    { kind: "back", avoidMs: 0 },
    { keyGroup: first.keyGroup, keyId: first.keyId, called: true, ok: true, latencyMs: 9 },
  );
  const some = (await quota.look(["a"])).groups.map(({ id, concurrency }) => [id, concurrency?.used]);
  expect(some.toSorted()).toEqual([
    ["a", 1],
    ["b", 1],
  ]);
});

test("each change of a group's or key's state is noted once, with its cause and end, by whichever bridge sees it", async () => {
  await quota.register([group()], LIVES);
  const bridges = [1, 2].map(() => snapshotPublisher(quota, redis));
  const look = async () => {
    for (const publish of bridges) await publish();
  };
  await look(); // seen for the first time: nothing has changed
  expect(await changes()).toEqual([]);
  await hold(group());
  await look();
  const used = await call({ code: "KEY_REJECTED", says: refusesKey(60_000) });
  await look();
  await call({ code: "PROVIDER_FAILED", says: coolsGroup(30_000) });
  await look();
  await look();
  const all = await changes();
  expect(told(all)).toEqual([
    ["group-a", "unmanned", "available", null],
    [`group-a/${used.keyId}`, "available", "disabled", "KEY_REJECTED"],
    ["group-a", "available", "cooling", "PROVIDER_FAILED"],
  ]);
  const [, ofKey, ofGroup] = all;
  expect((ofKey?.untilMs ?? 0) - (ofKey?.atMs ?? 0)).toBeGreaterThan(54_500);
  expect((ofGroup?.untilMs ?? 0) - (ofGroup?.atMs ?? 0)).toBeGreaterThan(25_000);
  expect(await redis.hgetall(KEYS.keyGroupChangeCounts)).toEqual({
    "group-a:available": "1",
    "group-a:cooling": "1",
    [`group-a/${used.keyId}:disabled`]: "1",
  });

  // A bridge that starts anew knows what was seen before it; a call under way changes nothing.
  await redis.hdel("{vl}:group:group-a", "coolUntil");
  await redis.zadd("{vl}:free", 0, "group-a");
  await snapshotPublisher(quota, redis)();
  await call(null);
  await look();
  expect(told((await changes()).slice(3))).toEqual([["group-a", "cooling", "available", null]]);

  // A group that is taken out of the keys' file is forgotten, and what is told of it stays.
  await quota.register([aKeyGroup({ id: "group-b" })], LIVES);
  await look();
  expect(told(await changes()).at(4)).toEqual(["group-a", "available", "removed", null]);
  await redis.zadd("{vl}:leaving", 1, "group-a"); // long ago, and its queue is empty
  await createWaitingRoom(redis, { maxWaiting: 100 }).sweep();
  await look();
  expect(Object.keys(await redis.hgetall(KEYS.keyGroupStates))).toEqual(["group-b", "group-b/key-1"]);
  expect(await redis.hgetall(KEYS.keyGroupChangeCounts)).toEqual({});
  expect((await changes()).length).toBeGreaterThan(4);
});

test("a bridge that looked earlier and tells later changes nothing; the newest thousand are kept", async () => {
  const history = createKeyGroupHistory(redis);
  const late = createKeyGroupHistory(redis);
  const seen = (state: KeyState, cause: ErrorCode | null = null) => [keyGroup(1, { state, cause, keys: [] })];
  await history.note(seen("available"), 1_000, true);
  await history.note(seen("cooling", "RATE_LIMITED"), 3_000, true);
  await late.note(seen("available"), 2_000, true);
  expect(told(await changes())).toEqual([["sim-1", "available", "cooling", "RATE_LIMITED"]]);
  for (let i = 0; i < KEPT_KEY_GROUP_CHANGES + 5; i += 1) {
    await history.note(seen(i % 2 === 0 ? "available" : "disabled"), 4_000 + i, i % 2 === 0);
  }
  const kept = await changes();
  expect(kept).toHaveLength(KEPT_KEY_GROUP_CHANGES);
  expect(kept.at(-1)).toMatchObject({ to: "available", atMs: 4_000 + KEPT_KEY_GROUP_CHANGES + 4 });
});

test("a look at some groups leaves the others as they were, and all are looked at when keys come to be held or groups are registered", async () => {
  const groups = ["group-a", "group-b", "group-c"].map((id) => aKeyGroup({ id }));
  await quota.register(groups, LIVES);
  const publish = snapshotPublisher(quota, redis);
  await publish();
  const states = async () =>
    Object.values(await redis.hgetall(KEYS.keyGroups))
      .map((json) => KeyGroupEvent.parse(JSON.parse(json)))
      .map(({ id, state, calls }) => [id, state, calls])
      .toSorted();
  for (const held of groups) await hold(held);
  await publish();
  expect(await states()).toEqual(groups.map(({ id }) => [id, "available", 0]));

  const { keyGroup: used } = await call({ code: "PROVIDER_FAILED", says: coolsGroup(30_000) });
  const { groups: looked } = await quota.look([]);
  expect(looked.map(({ id }) => id)).toEqual([used]);
  await publish();
  expect(await states()).toEqual(
    groups.map(({ id }) => [id, id === used ? "cooling" : "available", id === used ? 1 : 0]),
  );
  expect(told(await changes()).slice(3)).toEqual([[used, "available", "cooling", "PROVIDER_FAILED"]]);

  await quota.register(groups.slice(0, 2), LIVES);
  await publish();
  expect((await states()).find(([id]) => id === "group-c")?.[1]).toBe("removed");
});

test("one key let go while another is held is seen, and so is what a group's account has used by calls of its other groups", async () => {
  const windows = [{ name: "requestsPerMinute", limit: 10, windowMs: 60_000 }];
  const shared = ["group-a", "group-b"].map((id) => aKeyGroup({ id, account: "one", windows }));
  const apart = aKeyGroup({ id: "group-c", windows });
  await quota.register([...shared, apart], LIVES);
  for (const held of shared) await hold(held);
  const publish = snapshotPublisher(quota, redis);
  await publish();
  const seen = async (id: string) => KeyGroupEvent.parse(JSON.parse((await redis.hget(KEYS.keyGroups, id)) ?? ""));
  const { keyGroup: used } = await call({});
  await publish();
  for (const { id } of shared) expect((await seen(id)).windows[0]?.used, `${id}, called was ${used}`).toBe(1);

  await redis.hset("{vl}:held", "group-b/key-1", 1); // its worker is silent
  await hold(apart);
  await publish();
  expect([(await seen("group-b")).state, (await seen("group-c")).state]).toEqual(["unmanned", "available"]);
});

test("a rest that is over before anybody looks is an event all the same, and so is its end", async () => {
  await quota.register([group()], LIVES);
  await hold(group());
  const publish = snapshotPublisher(quota, redis);
  await publish();
  await call({ code: "RATE_LIMITED", says: coolsGroup(30) });
  await expect.poll(async () => (await quota.snapshot())[0]?.state).toBe("available");
  await publish();
  expect(told(await changes())).toEqual([
    ["group-a", "available", "cooling", "RATE_LIMITED"],
    ["group-a", "cooling", "available", null],
  ]);
});

test("what the store has lost of key groups and their states is written again, a part of it each round", async () => {
  const groups = ["a", "b", "c"].map((id) => aKeyGroup({ id }));
  await quota.register(groups, LIVES);
  await hold(...groups);
  const publish = snapshotPublisher(quota, redis);
  await publish();
  const written = async () =>
    [await redis.hkeys(KEYS.keyGroups), await redis.hkeys(KEYS.keyGroupStates)].map((ids) => ids.sort());
  const all = await written();
  expect(all[0]).toEqual(["a", "b", "c"]);
  await redis.del(KEYS.keyGroups, KEYS.keyGroupStates);
  for (let round = 0; round < 60; round += 1) await publish();
  expect(await written()).toEqual(all);
  expect(await redis.xlen(KEYS.keyGroupChanges)).toBe(0);
});
