/** Keys and policies come and go for years: what the store knows of those that are gone does not grow. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import { policyId, type RoutingPolicy } from "../../src/routing-policy.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, LIVES, refusesKey } from "../support/tasks.ts";

const DAY_MS = 86_400_000;
const GROUP = "{vl}:group:group-a";

let store: TestRedis;
let redis: Redis;
beforeAll(async () => {
  store = await startRedis({ appendonly: false });
  redis = new Redis(store.url);
});
afterAll(async () => {
  redis?.disconnect();
  await store?.stop();
});
beforeEach(() => redis.flushall());

function setUp() {
  const quota = createQuota(redis, systemClock);
  const room = createWaitingRoom(redis, { maxWaiting: 100 });
  const windows = [{ name: "requestsPerMinute", limit: 10_000, windowMs: 60_000 }];
  const named = (ids: readonly string[]) => ids.map((keyId) => ({ keyGroup: "group-a", keyId }));
  const withKeys = (...ids: string[]) =>
    aKeyGroup({ windows, strategy: "weighted", keys: ids.map((id) => ({ id, secret: `sim-${id}`, weight: 2 })) });
  /** As bridge and worker do with an edit of the file. */
  async function rotate(from: readonly string[], to: readonly string[]) {
    await quota.register([withKeys(...to)], LIVES);
    await quota.hold(named(from), 0);
    await quota.hold(named(to), 60_000);
  }
  async function begin() {
    await room.admit([anArrival({ freshnessSeconds: 0 })]);
    const [lease] = (await quota.take(1)).taken;
    if (!lease) throw new Error("nothing was taken");
    expect(await quota.spend(lease, "w:1", 5_000, false)).toMatchObject({ kind: "granted" });
    const told = { keyGroup: lease.keyGroup, keyId: lease.keyId, called: true, latencyMs: 5 };
    const answered = () =>
      quota.settle(
        lease,
        { kind: "assessed", verdict: {}, meta: {} },
        { ...told, ok: true, tokens: 20, promptTokens: 15 },
      );
    const refused = () =>
      quota.settle(
        lease,
        { kind: "back", avoidMs: 0 },
        { ...told, ok: false, code: "KEY_REJECTED", says: refusesKey(1_000) },
      );
    return { lease, answered, refused };
  }
  const fields = async () => (await redis.hkeys(GROUP)).sort();
  return { quota, room, withKeys, rotate, begin, fields };
}

test("a key that is gone is forgotten, after a hundred rotations as after one", async () => {
  const { rotate, begin, fields } = setUp();
  const sizes: number[] = [];
  let before: string[] = [];
  for (let n = 0; n < 100; n += 1) {
    const now = [`key-${n}a`, `key-${n}b`];
    await rotate(before, now);
    for (let i = 0; i < 2; i += 1) await (await begin()).answered();
    before = now;
    sizes.push((await fields()).length);
    expect(await redis.hlen("{vl}:held")).toBe(2);
  }
  expect(sizes.at(-1)).toBe(sizes[0]);
  expect((await fields()).filter((field) => field.startsWith("calls:"))).toEqual(["calls:key-99a", "calls:key-99b"]);
});

test("what a worker held that died goes with the next registration", async () => {
  const { quota, withKeys } = setUp();
  await redis.hset("{vl}:held", { "group-a/long-gone": Date.now() - 2 * 60_000, "group-a/key-1": Date.now() + 5_000 });
  await quota.register([withKeys("key-1")], LIVES);
  expect(await redis.hkeys("{vl}:held")).toEqual(["group-a/key-1"]);
});

test("not while a call of it is under way, and what it learns then is void when the key comes back", async () => {
  const { quota, withKeys, rotate, begin, fields } = setUp();
  await rotate([], ["key-1"]);
  const { refused } = await begin();
  await rotate(["key-1"], ["key-2"]);
  expect(await redis.hmget(GROUP, "off:key-1", "inFlight:key-1")).toEqual(["by_hand", "1"]);
  await refused();
  await quota.register([withKeys("key-2")], LIVES);
  expect((await fields()).filter((field) => field.endsWith(":key-1"))).toEqual([]);
  await rotate([], ["key-1", "key-2"]);
  expect(await redis.hmget(GROUP, "off:key-1", "coolUntil:key-1")).toEqual([null, null]);
  expect((await quota.snapshot())[0]?.keys.map(({ id, state }) => `${id} ${state}`)).toEqual([
    "key-1 available",
    "key-2 available",
  ]);
});

test("a key that its provider refuses stays so over registrations, until it is switched off and on", async () => {
  const { quota, withKeys, rotate, begin } = setUp();
  await rotate([], ["key-1"]);
  await (await begin()).refused();
  await quota.register([withKeys("key-1")], LIVES);
  expect(await redis.hget(GROUP, "off:key-1")).toBe("refused");
  await rotate(["key-1"], ["key-2"]);
  await rotate([], ["key-1", "key-2"]);
  expect(await redis.hget(GROUP, "off:key-1")).toBeNull();
});

test("the group's own counts stay, whatever its keys were called", async () => {
  const { rotate, begin } = setUp();
  await rotate([], ["prompt"]);
  await (await begin()).answered();
  await rotate(["prompt"], ["500"]);
  await (await begin()).answered();
  await rotate(["500"], ["key-1"]);
  expect(await redis.hmget(GROUP, "used:prompt", "lat:500", "calls", "calls:prompt")).toEqual(["30", "2", "2", null]);
});

test("a policy is forgotten when for long nobody uses it and none of its tasks waits", async () => {
  const { quota, room, withKeys } = setUp();
  const [before, now]: [RoutingPolicy, RoutingPolicy] = [{ keyGroups: ["group-a"] }, { minQuality: 2 }];
  const id = policyId(before);
  const register = (...policies: RoutingPolicy[]) => quota.register([withKeys("key-1")], { ...LIVES, policies });
  const known = async () => (await redis.hkeys("{vl}:policies")).includes(id);
  const unheardFor = (ms: number) => redis.hset("{vl}:policies-told", id, Date.now() - ms);
  await register(before);
  await register(now); // another bridge, with other cameras
  expect(await known()).toBe(true);
  await unheardFor(2 * DAY_MS);
  expect(await quota.renewPolicies([before, {}])).toBe(true);
  await register(now);
  expect(await known()).toBe(true);

  await room.admit([anArrival({ freshnessSeconds: 0, routing: before })]);
  await unheardFor(2 * DAY_MS);
  await register(now);
  expect(await known()).toBe(true); // a task of it waits
  await quota.hold([{ keyGroup: "group-a", keyId: "key-1" }], 60_000);
  expect((await quota.take(1)).taken).toHaveLength(1);
  await unheardFor(DAY_MS / 2);
  await register(now);
  expect(await known()).toBe(true); // it may be tried again
  await unheardFor(2 * DAY_MS);
  await register(now);
  expect(await known()).toBe(false);
  expect(await redis.hlen("{vl}:policies-told")).toBe(1);
  expect(await quota.renewPolicies([before])).toBe(false);
});
