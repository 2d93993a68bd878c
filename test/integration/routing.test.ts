/**
 * Routing policies: which key groups may judge which camera's groups, and which are preferred, with two bridges that take in
 * turn on a real store. VIGILANE_LONG=1: many more cases.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { readCameras } from "../../src/cameras.ts";
import { systemClock } from "../../src/context.ts";
import { KEYS } from "../../src/names.ts";
import { type KeyGroup, pricePerCall } from "../../src/queues/key-groups.ts";
import type { Quota, Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { policyId, type RoutingPolicy } from "../../src/routing-policy.ts";
import { startPipeline } from "../support/pipeline.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

const LONG = process.env.VIGILANE_LONG === "1";

let store: TestRedis;
let redis: Redis;
let second: Redis;
let bridges: [Quota, Quota];
let room: WaitingRoom;
beforeAll(async () => {
  store = await startRedis({ appendonly: false });
  redis = new Redis(store.url);
  second = new Redis(store.url);
  bridges = [createQuota(redis, systemClock), createQuota(second, systemClock)];
  room = createWaitingRoom(redis, { maxWaiting: 10_000 });
});
afterAll(async () => {
  redis.disconnect();
  second.disconnect();
  await store.stop();
});
beforeEach(() => redis.flushall());

const perMinute = (limit: number) => [{ name: "requestsPerMinute", limit, windowMs: 60_000 }];

async function use(groups: readonly KeyGroup[], policies: readonly RoutingPolicy[]) {
  const keys = groups.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id })));
  await bridges[0].hold(keys, 600_000);
  return await bridges[0].register(groups, { ...LIVES, policies });
}

const admit = async (count: number, routing?: RoutingPolicy, over = {}) => {
  const some = Array.from({ length: count }, (_, i) =>
    anArrival({ freshnessSeconds: 0, cameraId: `cam-${i % 7}`, ...(routing && { routing }), ...over }),
  );
  await room.admit(some);
  return some.map(({ task }) => task.taskId);
};

/** All that can be taken now, a few at a time by one bridge after the other. */
async function takeAll(): Promise<Taken[]> {
  const all: Taken[] = [];
  for (let i = 0, none = 0; none < 2; i += 1) {
    const { taken } = await (i % 2 ? bridges[1] : bridges[0]).take(1 + (i % 5));
    none = taken.length === 0 ? none + 1 : 0;
    all.push(...taken);
  }
  return all;
}

function spread(all: readonly Taken[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { keyGroup } of all) counts[keyGroup] = (counts[keyGroup] ?? 0) + 1;
  return counts;
}

/** As the policy reads, by itself. */
function allows(policy: RoutingPolicy, group: KeyGroup): boolean {
  const price = pricePerCall(group.price);
  const { providers, keyGroups, regions, minQuality = 0, maxPricePerCall } = policy;
  return (
    (!providers || (providers as string[]).includes(group.provider)) &&
    (!keyGroups || keyGroups.includes(group.id)) &&
    (!regions || regions.includes(group.region ?? "")) &&
    group.quality >= minQuality &&
    (maxPricePerCall === undefined || (price !== null && price <= maxPricePerCall))
  );
}

describe("with two bridges", () => {
  const four = [
    aKeyGroup({
      id: "small",
      provider: "dashscope",
      region: "cn",
      quality: 2,
      price: { perCall: 0.001 },
      windows: perMinute(10),
    }),
    aKeyGroup({
      id: "large",
      provider: "dashscope",
      region: "eu",
      quality: 5,
      price: { perCall: 0.01 },
      windows: perMinute(10),
    }),
    aKeyGroup({
      id: "other",
      provider: "openai",
      region: "us",
      quality: 4,
      price: { perMillionInputTokens: 5 },
      windows: perMinute(10),
    }),
    aKeyGroup({ id: "local", provider: "vllm", windows: perMinute(10) }),
  ];

  test.each<[string, RoutingPolicy, string[]]>([
    ["providers", { providers: ["dashscope"] }, ["large", "small"]],
    ["groups", { keyGroups: ["local", "other"] }, ["local", "other"]],
    ["regions", { regions: ["eu", "us"] }, ["large", "other"]],
    ["quality", { minQuality: 4 }, ["large", "other"]],
    ["price, where it is known", { maxPricePerCall: 0.005 }, ["other", "small"]],
    ["all at once", { providers: ["dashscope", "openai"], minQuality: 3, maxPricePerCall: 0.006 }, ["other"]],
  ])("%s: only those that are allowed, evenly", async (_what, policy, allowed) => {
    await use(four, [policy]);
    await admit(8, policy);
    const share = 8 / allowed.length;
    expect(spread(await takeAll())).toEqual(Object.fromEntries(allowed.map((id) => [id, share])));
  });

  test("cheapest: the next dearer one only when the cheaper ones are full, unknown prices last", async () => {
    const policy: RoutingPolicy = { prefer: "cheapest" };
    await use(four, [policy]);
    await admit(35, policy);
    const order = (await takeAll()).map(({ keyGroup }) => keyGroup);
    const ten = (id: string) => Array<string>(10).fill(id);
    expect(order).toEqual([...ten("small"), ...ten("other"), ...ten("large"), ...ten("local").slice(5)]);
  });

  test("best: the better model first, and of equals each in its turn", async () => {
    const twin = aKeyGroup({ id: "twin", quality: 5, windows: perMinute(10) });
    const policy: RoutingPolicy = { prefer: "best" };
    await use([...four, twin], [policy]);
    await admit(24, policy);
    const taken = await takeAll();
    expect(spread(taken)).toEqual({ large: 10, twin: 10, other: 4 });
    expect(Math.abs((spread(taken.slice(0, 11)).large ?? 0) - (spread(taken.slice(0, 11)).twin ?? 0))).toBe(1);
  });

  test("a free group that most of what waits may not use is used by what may, whatever waits before it", async () => {
    const policy: RoutingPolicy = { keyGroups: ["small"] };
    await use(four, [policy]);
    await admit(200, policy, { score: 1 }); // the most urgent, and more than any look takes in
    const [plain] = await admit(1, undefined, { score: 0 });
    const taken = await takeAll();
    expect(spread(taken.filter(({ taskId }) => taskId !== plain))).toEqual({ small: 10 });
    expect(taken.map(({ taskId }) => taskId)).toContain(plain);
  });

  test("who comes while others wait for a group that it need not wait for is told of at once", async () => {
    const policy: RoutingPolicy = { keyGroups: ["small"] };
    await use(four, [policy]);
    await admit(20, policy);
    await takeAll();
    const heard: string[] = [];
    const listener = new Redis(store.url);
    onTestFinished(() => listener.disconnect());
    await listener.subscribe(KEYS.wake);
    const told = new Promise<void>((resolve) =>
      listener.on("message", (_channel, id) => {
        heard.push(id);
        resolve();
      }),
    );
    await admit(3, policy); // one more of the same changes nothing
    const [plain] = await admit(1);
    await told;
    expect(heard).toEqual([plain]);
    expect((await bridges[1].take(5)).taken.map(({ taskId }) => taskId)).toEqual([plain]);
  });

  test("a policy that allows none is told; its tasks expire as such, or wait, until a group is there that it allows", async () => {
    const policy: RoutingPolicy = { minQuality: 5, providers: ["openai"] };
    expect(await use(four, [policy, { minQuality: 2 }])).toEqual({ unserved: [policyId(policy)] });
    const [brief] = await admit(1, policy, { freshnessSeconds: 0.5, capturedAtMs: Date.now() });
    await admit(2, policy);
    expect(await takeAll()).toEqual([]);
    const ended = async () => (await room.sweep()) && redis.xlen(KEYS.outbox);
    await expect.poll(ended).toBe(1);
    const [[, fields]] = (await redis.xrange(KEYS.outbox, "-", "+")) as [[string, string[]]];
    expect(fields.join(" ")).toContain(`id ${brief} outcome expired`);
    expect(fields.join(" ")).toContain("NO_GROUP_ALLOWED");
    const now = four.map((group) => (group.id === "other" ? { ...group, quality: 5 } : group));
    expect(await use(now, [policy])).toEqual({ unserved: [] });
    expect(spread(await takeAll())).toEqual({ other: 2 });
  });

  test("a group without a key serves no policy; one that is known no more is still kept", async () => {
    const [old, now]: RoutingPolicy[] = [{ keyGroups: ["small"] }, { keyGroups: ["large"] }];
    await use(four, [old as RoutingPolicy]);
    await admit(4, old);
    const without = four.map((group) => (group.id === "large" ? { ...group, keys: [] } : group));
    expect(await use(without, [now as RoutingPolicy])).toEqual({ unserved: [policyId(now)] });
    expect(spread(await takeAll())).toEqual({ small: 4 });
  });

  test("whatever the groups and policies: none goes where it may not, and no place that somebody may have is left", {
    timeout: 120_000,
  }, async () => {
    const group = fc.record({
      provider: fc.constantFrom("dashscope", "openai"),
      region: fc.constantFrom("cn", "eu", null),
      quality: fc.integer({ min: 1, max: 3 }),
      price: fc.constantFrom(null, { perCall: 1 }, { perCall: 2 }),
      limit: fc.integer({ min: 1, max: 4 }),
    });
    const policy: fc.Arbitrary<RoutingPolicy> = fc.record(
      {
        providers: fc.constantFrom<("dashscope" | "openai")[]>(["dashscope"], ["openai"], ["dashscope", "openai"]),
        regions: fc.constantFrom(["cn"], ["cn", "eu"]),
        minQuality: fc.integer({ min: 1, max: 4 }),
        maxPricePerCall: fc.constantFrom(1, 2),
        prefer: fc.constantFrom("any" as const, "cheapest" as const, "best" as const),
      },
      { requiredKeys: [] },
    );
    let refusedAll = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(group, { minLength: 1, maxLength: 6 }),
        fc.array(fc.tuple(policy, fc.integer({ min: 1, max: 6 })), { minLength: 1, maxLength: 5 }),
        async (made, offered) => {
          await redis.flushall();
          const groups = made.map(({ limit, ...over }, i) =>
            aKeyGroup({ id: `g${i}`, ...over, windows: perMinute(limit) }),
          );
          await use(
            groups,
            offered.map(([one]) => one),
          );
          const wants = new Map<string, RoutingPolicy>();
          for (const [one, count] of offered) {
            for (const id of await admit(count, one)) wants.set(id, one);
          }
          const left = new Map(groups.map(({ id }, i) => [id, made[i]?.limit ?? 0]));
          for (const { taskId, keyGroup } of await takeAll()) {
            const one = wants.get(taskId);
            const where = groups.find(({ id }) => id === keyGroup);
            expect(one && where && allows(one, where)).toBe(true);
            left.set(keyGroup, (left.get(keyGroup) ?? 0) - 1);
            wants.delete(taskId);
          }
          expect(Math.min(...left.values())).toBeGreaterThanOrEqual(0);
          for (const one of wants.values()) {
            const free = groups.filter((where) => allows(one, where) && (left.get(where.id) ?? 0) > 0);
            expect(free.map(({ id }) => id)).toEqual([]);
            if (!groups.some((where) => allows(one, where))) refusedAll += 1;
          }
        },
      ),
      { numRuns: LONG ? 300 : 25 },
    );
    expect(refusedAll).toBeGreaterThan(0);
  });
});

test("from the files to the results: a camera's routing over the one for all; what none may judge is said and expires", async () => {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-routing-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [keys, cameras] = [join(folder, "keys.yaml"), join(folder, "cameras.yaml")];
  writeFileSync(
    keys,
    `routing: { policy: { keyGroups: [plain] } }
keyGroups:
  - { id: plain, provider: simulated, quality: 2, windows: { requestsPerSecond: 5 }, keys: [{ id: k1, secret: sim-key-01 }] }
  - { id: fine, provider: simulated, quality: 4, region: eu, windows: { requestsPerSecond: 5 }, keys: [{ id: k2, secret: sim-key-02 }] }
`,
  );
  writeFileSync(
    cameras,
    `cameras:
  - { id: gate, source: x, routing: { keyGroups: [fine, plain], minQuality: 3 } }
  - { id: square, source: x }
  - { id: lost, source: x, freshnessSeconds: 1, routing: { regions: [mars] } }
`,
  );
  const world = await startPipeline({ settings: { keys, cameras } });
  onTestFinished(() => world.stop());
  const detail = (world.bridge as typeof world.bridge & { detail(): string }).detail();
  expect(detail).toMatch(/no key group with a key may judge what comes from lost: /);
  for (const [cameraId, keyGroup] of [
    ["gate", "fine"],
    ["square", "plain"],
    ["unknown", "plain"],
  ] as const) {
    const results = [...(await world.outcomes(await world.offer(3, { cameraId }))).values()].flat();
    expect(results.map(({ outcome, metadata }) => [outcome, metadata.keyGroup])).toEqual(
      Array(3).fill(["assessed", keyGroup]),
    );
  }
  const [lost] = [...(await world.outcomes(await world.offer(1, { cameraId: "lost" }))).values()].flat();
  expect(lost).toMatchObject({ outcome: "expired", error: { code: "NO_GROUP_ALLOWED" } });
});

test("a policy's faults are told with their lines; the same policy has one id, and none has none", () => {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-routing-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "cameras.yaml");
  writeFileSync(
    path,
    `cameras:
  - id: gate
    source: x
    routing:
      minQuality: 9
      prefer: dearest
      provider: dashscope
`,
  );
  expect(() => readCameras(path)).toThrow(/cameras\.yaml:5:\d+: cameras\.0\.routing\.minQuality/);
  expect(() => readCameras(path)).toThrow(/cameras\.yaml:6:\d+: cameras\.0\.routing\.prefer/);
  expect(() => readCameras(path)).toThrow(
    /cameras\.yaml:7:\d+: cameras\.0\.routing: there is no field "provider" here/,
  );
  expect(policyId({})).toBe("");
  expect(policyId({ prefer: "any" })).toBe("");
  expect(policyId({ keyGroups: ["b", "a"], minQuality: 2 })).toBe(
    policyId({ minQuality: 2, keyGroups: ["a", "b", "a"] }),
  );
  expect(policyId({ minQuality: 2 })).not.toBe(policyId({ maxPricePerCall: 2 }));
});

test("a task with a policy costs the store as many commands with a thousand groups as with ten", async () => {
  const policies: RoutingPolicy[] = [
    { prefer: "cheapest" },
    { minQuality: 2 },
    { providers: ["openai"], prefer: "best" },
  ];
  const commandsATask = async (count: number) => {
    await redis.flushall();
    const groups = Array.from({ length: count }, (_, i) =>
      aKeyGroup({
        ...{ id: `g${i}`, quality: 1 + (i % 3), provider: i % 2 ? "openai" : "dashscope", windows: perMinute(50_000) },
        price: { perCall: 1 + (i % 2) },
      }),
    );
    await use(groups, policies);
    for (const policy of [undefined, ...policies]) await admit(300, policy);
    for (let i = 0; i < 30; i += 1) await bridges[0].take(32); // until all have come forward
    await redis.config("RESETSTAT");
    let taken = 0;
    for (let i = 0; i < 40; i += 1) taken += (await bridges[i % 2 ? 1 : 0].take(3)).taken.length;
    expect(taken).toBe(120);
    const calls = [...(await redis.info("commandstats")).matchAll(/cmdstat_(\w+):calls=(\d+)/g)];
    return calls.filter(([, name]) => name !== "config").reduce((sum, [, , n]) => sum + Number(n), 0) / taken;
  };
  const ten = await commandsATask(10);
  expect(await commandsATask(1_000)).toBeLessThanOrEqual(1.3 * ten);
});
