/**
 * How calls are spread over key groups and over a group's keys, by each strategy, with two bridges that take in turn on a real
 * store. VIGILANE_LONG=1: many more cases.
 */
import fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { systemClock } from "../../src/context.ts";
import { type KeyGroup, MOST_KEYS, STRATEGIES, type Strategy } from "../../src/queues/key-groups.ts";
import type { Quota, Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { createBridge } from "../../src/roles/bridge.ts";
import { startPipeline } from "../support/pipeline.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { startSteeredStore } from "../support/steered-store.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

const LONG = process.env.VIGILANE_LONG === "1";

let store: TestRedis;
let connections: Redis[];
let bridges: Quota[];
let room: WaitingRoom;
beforeAll(async () => {
  store = await startRedis({ appendonly: false });
  connections = [1, 2].map(() => new Redis(store.url));
  bridges = connections.map((redis) => createQuota(redis, systemClock));
  room = createWaitingRoom(first(connections), { maxWaiting: 10_000 });
});
afterAll(async () => {
  for (const redis of connections) redis.disconnect();
  await store.stop();
});
beforeEach(() => first(connections).flushall());

const first = <T>([one]: readonly T[]): T => {
  if (one === undefined) throw new Error("there is none");
  return one;
};

/** Far more than any test calls: what saturates is another test's. */
const plenty = [{ name: "requestsPerMinute", limit: 100_000, windowMs: 60_000 }];
const groupsOf = (count: number, over: (i: number) => Partial<KeyGroup> = () => ({})) =>
  Array.from({ length: count }, (_, i) =>
    aKeyGroup({ id: `g${String(i).padStart(4, "0")}`, windows: plenty, ...over(i) }),
  );

async function use(groups: readonly KeyGroup[], strategy: Strategy = "round_robin") {
  for (const bridge of bridges) await bridge.register(groups, { ...LIVES, routing: { strategy } });
  const keys = groups.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id })));
  await first(bridges).hold(keys, 600_000);
}

async function admit(count: number) {
  for (let left = count; left > 0; left -= 500)
    await room.admit(Array.from({ length: Math.min(left, 500) }, () => anArrival({ freshnessSeconds: 0 })));
}

/** In the order of their choice; one bridge after the other, `sizes` at a time. */
async function takeInTurn(count: number, sizes: readonly number[] = [1, 3, 2, 7]): Promise<Taken[]> {
  const all: Taken[] = [];
  for (let i = 0; all.length < count; i += 1) {
    const most = Math.min(sizes[i % sizes.length] ?? 1, count - all.length);
    const { taken } = await (bridges[i % 2] as Quota).take(most);
    expect(taken.length, "nothing saturates").toBe(most);
    all.push(...taken);
  }
  return all;
}

const end = async (lease: Taken) => {
  const { keyGroup, keyId } = lease;
  const feedback = { keyGroup, keyId, called: true, ok: true, latencyMs: 5 };
  await first(bridges).settle(lease, { kind: "assessed", verdict: {}, meta: {} }, feedback);
};

function countsOf(names: readonly string[], all: readonly string[]): number[] {
  const counts = new Map(all.map((name) => [name, 0]));
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return all.map((name) => counts.get(name) ?? 0);
}

/** After each single choice the counts are so far apart at most. */
function apartAtMost(names: readonly string[], all: readonly string[]): number {
  const counts = new Map(all.map((name) => [name, 0]));
  let most = 0;
  for (const name of names) {
    counts.set(name, (counts.get(name) ?? 0) + 1);
    most = Math.max(most, Math.max(...counts.values()) - Math.min(...counts.values()));
  }
  return most;
}

/** Chosen in proportion to weights: how far two are apart in calls ÷ weight, over what one call of each is. At most 1 by the law. */
function unfairness(names: readonly string[], weights: ReadonlyMap<string, number>): number {
  const counts = new Map([...weights.keys()].map((name) => [name, 0]));
  let most = 0;
  for (const name of names) {
    counts.set(name, (counts.get(name) ?? 0) + 1);
    for (const [a, weightA] of weights) {
      for (const [b, weightB] of weights) {
        const apart = Math.abs((counts.get(a) ?? 0) / weightA - (counts.get(b) ?? 0) / weightB);
        most = Math.max(most, apart / (1 / weightA + 1 / weightB));
      }
    }
  }
  return most;
}

const idsOf = (some: readonly { id: string }[]) => some.map(({ id }) => id);

describe("among groups, with two bridges", () => {
  test("round_robin: never more than one call apart", async () => {
    const groups = groupsOf(7);
    await use(groups);
    await admit(200);
    const taken = await takeInTurn(200);
    expect(
      apartAtMost(
        taken.map(({ keyGroup }) => keyGroup),
        idsOf(groups),
      ),
    ).toBe(1);
  });

  test("least_loaded: the one with the fewest in flight, of equals the one with the fewest calls", async () => {
    const groups = groupsOf(5);
    await use(groups, "least_loaded");
    await admit(300);
    const inFlight = new Map(idsOf(groups).map((id) => [id, [] as Taken[]]));
    const calls = new Map(idsOf(groups).map((id) => [id, 0]));
    let busy = 0;
    for (let i = 0; i < 100; i += 1) {
      for (const one of await takeInTurn(1 + (i % 4), [1 + (i % 4)])) {
        const worth = (id: string) => (inFlight.get(id)?.length ?? 0) * 1_000 + (calls.get(id) ?? 0);
        expect(worth(one.keyGroup)).toBe(Math.min(...idsOf(groups).map(worth)));
        inFlight.get(one.keyGroup)?.push(one);
        calls.set(one.keyGroup, (calls.get(one.keyGroup) ?? 0) + 1);
      }
      busy = Math.max(busy, ...[...inFlight.values()].map(({ length }) => length));
      // Those of the first group stay long; of the others two end.
      const others = [...inFlight.values()].slice(1).flat();
      for (const one of others.slice(0, 2)) {
        inFlight.set(
          one.keyGroup,
          (inFlight.get(one.keyGroup) ?? []).filter((other) => other !== one),
        );
        await end(one);
      }
    }
    expect(busy).toBeGreaterThan(3); // else it showed little
    const [slow = 0, ...quick] = [...calls.values()];
    expect(slow).toBeLessThan(Math.max(...quick));
  });

  test("weighted: by weight within 2 %, and at no moment further apart than one call of each", async () => {
    const weights = [1, 2, 3, 4.5];
    const groups = groupsOf(4, (i) => ({ weight: weights[i] ?? 1 }));
    await use(groups, "weighted");
    await admit(420);
    const names = (await takeInTurn(420)).map(({ keyGroup }) => keyGroup);
    expect(countsOf(names, idsOf(groups)).map((n) => n / 420)).toEqual(
      weights.map((weight) => expect.closeTo(weight / 10.5, 2)),
    );
    for (const [i, n] of countsOf(names, idsOf(groups)).entries())
      expect(Math.abs(n / 420 - (weights[i] ?? 0) / 10.5)).toBeLessThan(0.02 * ((weights[i] ?? 0) / 10.5) + 0.002);
    expect(unfairness(names, new Map(groups.map(({ id, weight }) => [id, weight])))).toBeLessThanOrEqual(1.000_001);
  });

  test("weighted, whatever the weights and however many are taken at once", { timeout: 120_000 }, async () => {
    const weight = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.double({ min: 0.05, max: 50, noNaN: true }));
    await fc.assert(
      fc.asyncProperty(
        fc.array(weight, { minLength: 2, maxLength: 9 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
        async (weights, sizes) => {
          await first(connections).flushall();
          const groups = groupsOf(weights.length, (i) => ({ weight: weights[i] ?? 1 }));
          await use(groups, "weighted");
          await admit(150);
          const names = (await takeInTurn(150, sizes)).map(({ keyGroup }) => keyGroup);
          expect(unfairness(names, new Map(groups.map(({ id, weight }) => [id, weight])))).toBeLessThanOrEqual(
            1.000_001,
          );
        },
      ),
      { numRuns: LONG ? 200 : 8 },
    );
  });

  test("random: evenly, and whatever came before", async () => {
    const groups = groupsOf(8);
    await use(groups, "random");
    await admit(1_600);
    const names = (await takeInTurn(1_600, [1, 2, 5])).map(({ keyGroup }) => keyGroup);
    const chiSquare = (counts: readonly number[]) => {
      const mean = counts.reduce((sum, n) => sum + n, 0) / counts.length;
      return counts.reduce((sum, n) => sum + (n - mean) ** 2 / mean, 0);
    };
    // One in 100,000 by chance, with 7 and with 63 degrees of freedom.
    expect(chiSquare(countsOf(names, idsOf(groups)))).toBeLessThan(36);
    const pairs = names.slice(1).map((name, i) => `${names[i]} ${name}`);
    const allPairs = idsOf(groups).flatMap((a) => idsOf(groups).map((b) => `${a} ${b}`));
    expect(chiSquare(countsOf(pairs, allPairs))).toBeLessThan(125);
    expect(apartAtMost(names, idsOf(groups))).toBeGreaterThan(5); // no rotation
  });

  test.each(STRATEGIES)("%s: one that rested long, and one that is new, do not catch up", async (strategy) => {
    const groups = groupsOf(4);
    await use(groups, strategy);
    await admit(600);
    const tired = "{vl}:group:g0000";
    await first(connections).hset(tired, "coolUntil", Date.now() + 600_000);
    const without = (await takeInTurn(200)).map(({ keyGroup }) => keyGroup);
    expect(new Set(without)).toEqual(new Set(["g0001", "g0002", "g0003"]));

    await first(connections).hdel(tired, "coolUntil");
    await first(connections).zadd("{vl}:free", "XX", 0, "g0000");
    await use([...groups, ...groupsOf(5).slice(4)], strategy);
    const names = (await takeInTurn(50)).map(({ keyGroup }) => keyGroup);
    const back = countsOf(names, ["g0000", "g0004"]);
    if (strategy === "least_loaded") {
      // Nothing ends here: those that have less in flight get it, which is no credit but the strategy.
      expect(back).toEqual([25, 25]);
    } else {
      for (const n of back) expect(n).toBeGreaterThan(strategy === "random" ? 1 : 8);
      for (const n of back) expect(n).toBeLessThan(strategy === "random" ? 25 : 14);
    }
  });

  test("least_loaded, where calls end before the next begins: one that rested long does not catch up", async () => {
    const groups = groupsOf(4);
    await use(groups, "least_loaded");
    await admit(300);
    const endAll = async (count: number) => {
      const all: string[] = [];
      for (let i = 0; i < count; i += 1) {
        const [one] = await takeInTurn(1, [1]);
        if (one) await end(one);
        all.push(one?.keyGroup ?? "");
      }
      return all;
    };
    await first(connections).hset("{vl}:group:g0000", "coolUntil", Date.now() + 600_000);
    await endAll(90);
    await first(connections).hdel("{vl}:group:g0000", "coolUntil");
    await first(connections).zadd("{vl}:free", "XX", 0, "g0000");
    const names = await endAll(40);
    expect(countsOf(names, ["g0000"])[0]).toBeLessThanOrEqual(13);
  });

  test.each(["weighted", "round_robin"] as const)(
    "one of a small weight is not left out when the weights become equal, now %s",
    async (strategy) => {
      const weighing = (...weights: number[]) => groupsOf(2, (i) => ({ weight: weights[i] ?? 1 }));
      await use(weighing(0.01, 100), "weighted");
      await admit(260);
      const before = (await takeInTurn(200)).map(({ keyGroup }) => keyGroup);
      expect(countsOf(before, ["g0000", "g0001"])).toEqual([1, 199]);
      await use(weighing(100, 100), strategy);
      const names = (await takeInTurn(60)).map(({ keyGroup }) => keyGroup);
      const [small = 0] = countsOf(names, ["g0000"]);
      expect(Math.abs(small - 30)).toBeLessThanOrEqual(2);
    },
  );

  test("nor when its own weight rises among others, or when all are in flight no more", async () => {
    const groups = groupsOf(2, (i) => ({ weight: i === 0 ? 0.01 : 1 }));
    await use(groups, "weighted");
    await admit(150);
    for (const one of await takeInTurn(50)) await end(one);
    await use(groupsOf(2), "weighted");
    const names = (await takeInTurn(40)).map(({ keyGroup }) => keyGroup);
    expect(countsOf(names, ["g0000"])[0]).toBeGreaterThanOrEqual(19);
    await use(groups, "weighted");
    await use(groupsOf(2), "least_loaded");
    const after = (await takeInTurn(20)).map(({ keyGroup }) => keyGroup);
    expect(countsOf(after, ["g0000"])[0]).toBeGreaterThanOrEqual(8);
  });

  test.each(STRATEGIES)("%s: above saturation every place is used", async (strategy) => {
    const groups = groupsOf(5, (i) => ({
      weight: 5 - i,
      windows: [{ name: "requestsPerMinute", limit: 3 + 2 * i, windowMs: 60_000 }],
    }));
    await use(groups, strategy);
    await admit(60);
    const all: Taken[] = [];
    for (let i = 0; i < 6; i += 1) all.push(...(await (bridges[i % 2] as Quota).take(8)).taken);
    expect(
      countsOf(
        all.map(({ keyGroup }) => keyGroup),
        idsOf(groups),
      ),
    ).toEqual([3, 5, 7, 9, 11]);
  });

  test("another strategy holds from the next registration on", async () => {
    const groups = groupsOf(3, (i) => ({ weight: i === 0 ? 8 : 1 }));
    await use(groups);
    await admit(140);
    await takeInTurn(30);
    await use(groups, "weighted");
    const weighted = (await takeInTurn(50)).map(({ keyGroup }) => keyGroup);
    expect(countsOf(weighted, idsOf(groups))[0]).toBeGreaterThan(36);
    await use(groups, "round_robin");
    const even = (await takeInTurn(60)).map(({ keyGroup }) => keyGroup);
    const [, one = 0, two = 0] = countsOf(even, idsOf(groups));
    expect(Math.abs(one - two)).toBeLessThanOrEqual(1);
    expect(countsOf(even, idsOf(groups))[0]).toBeGreaterThan(15);
  });
});

describe("among a group's keys, with two bridges", () => {
  const keysOf = (weights: readonly number[]) =>
    weights.map((weight, i) => ({ id: `key-${i}`, secret: `sim-key-${i}`, weight }));

  async function keysTaken(strategy: Strategy, weights: readonly number[], count: number): Promise<Taken[]> {
    const keys = keysOf(weights);
    await use(groupsOf(2, (i) => ({ strategy, keys: i === 0 ? keys : keysOf([1]) })));
    await admit(2 * count);
    return (await takeInTurn(2 * count)).filter(({ keyGroup }) => keyGroup === "g0000");
  }

  test("round_robin: never more than one call apart, also beside a key that comes and goes", async () => {
    const taken = await keysTaken("round_robin", [1, 1, 1, 1], 90);
    expect(
      apartAtMost(
        taken.map(({ keyId }) => keyId),
        idsOf(keysOf([1, 1, 1, 1])),
      ),
    ).toBe(1);
    await first(connections).hset("{vl}:held", "g0000/key-0", 0); // no worker has it
    await admit(160);
    expect((await takeInTurn(120)).filter(({ keyGroup, keyId }) => keyGroup === "g0000" && keyId === "key-0")).toEqual(
      [],
    );
    await first(connections).hset("{vl}:held", "g0000/key-0", Date.now() + 600_000);
    const again = (await takeInTurn(40)).filter(({ keyGroup }) => keyGroup === "g0000").map(({ keyId }) => keyId);
    expect(countsOf(again, ["key-0"])[0]).toBeGreaterThanOrEqual(5); // its share
    expect(countsOf(again, ["key-0"])[0]).toBeLessThanOrEqual(8);
  });

  test("as many as a group may have", async () => {
    const taken = await keysTaken("round_robin", Array(MOST_KEYS).fill(1), 100);
    expect(new Set(taken.map(({ keyId }) => keyId)).size).toBe(100);
  });

  test("weighted: by weight, at no moment further apart than one call of each", async () => {
    const weights = [1, 3, 6];
    const names = (await keysTaken("weighted", weights, 200)).map(({ keyId }) => keyId);
    expect(countsOf(names, ["key-0", "key-1", "key-2"])).toEqual([20, 60, 120]);
    expect(unfairness(names, new Map(weights.map((weight, i) => [`key-${i}`, weight])))).toBeLessThanOrEqual(1.000_001);
  });

  test.each(["weighted", "round_robin"] as const)(
    "one of a small weight is not left out when the weights become equal, now %s",
    async (strategy) => {
      expect(
        countsOf(
          (await keysTaken("weighted", [0.01, 100], 60)).map(({ keyId }) => keyId),
          ["key-0"],
        ),
      ).toEqual([1]);
      const after = (await keysTaken(strategy, [100, 100], 40)).map(({ keyId }) => keyId);
      const [small = 0] = countsOf(after, ["key-0"]);
      expect(Math.abs(small - 20)).toBeLessThanOrEqual(2);
    },
  );

  test("least_loaded: the key whose calls last gets fewer", async () => {
    await use(groupsOf(1, () => ({ strategy: "least_loaded", keys: keysOf([1, 1, 1]) })));
    await admit(90);
    const counts = [0, 0, 0];
    let open: Taken[] = [];
    for (let i = 0; i < 90; i += 1) {
      const [one] = await takeInTurn(1, [1]);
      if (!one) break;
      counts[Number(one.keyId.slice(4))] = (counts[Number(one.keyId.slice(4))] ?? 0) + 1;
      open.push(one);
      // The first key's calls never end; of the others each ends when two are open.
      const quick = open.filter(({ keyId }) => keyId !== "key-0");
      if (quick.length > 4) {
        await end(first(quick));
        open = open.filter((other) => other !== quick[0]);
      }
    }
    const [slow = 0, ...quick] = counts;
    expect(slow).toBeLessThanOrEqual(3);
    expect(Math.abs((quick[0] ?? 0) - (quick[1] ?? 0))).toBeLessThanOrEqual(1);
  });

  test("random: evenly", async () => {
    const names = (await keysTaken("random", [1, 1, 1, 1], 400)).map(({ keyId }) => keyId);
    for (const n of countsOf(names, idsOf(keysOf([1, 1, 1, 1])))) expect(Math.abs(n - 100)).toBeLessThan(45); // 5 σ
    expect(apartAtMost(names, idsOf(keysOf([1, 1, 1, 1])))).toBeGreaterThan(3);
  });
});

test("what a task in flight weighs is forgotten however it ends", async () => {
  const groups = groupsOf(2, () => ({
    strategy: "least_loaded",
    keys: [1, 2].map((i) => ({ id: `key-${i}`, secret: `sim-key-${i}`, weight: 1 })),
  }));
  await use(groups, "least_loaded");
  await admit(12);
  const taken = await takeInTurn(12);
  const loads = async () => {
    const records = await Promise.all(groups.map(({ id }) => first(connections).hgetall(`{vl}:group:${id}`)));
    return records.map((record) =>
      ["inFlight", "inFlight:key-1", "inFlight:key-2"].map((field) => Number(record[field] ?? 0)),
    );
  };
  expect(await loads()).toEqual([
    [6, 3, 3],
    [6, 3, 3],
  ]);
  const [settled = [], lapsed = [], spent = []] = [taken.slice(0, 4), taken.slice(4, 8), taken.slice(8)];
  for (const one of settled) await end(one);
  for (const one of spent) await first(bridges).spend(one, "w:1", 5_000, false);
  await room.sweep(["w:1"]); // its worker dies
  await first(connections).zadd("{vl}:leases", ...lapsed.flatMap((one) => [0, `${one.taskId}#${one.epoch}`]));
  await room.sweep();
  expect((await loads()).flat()).toEqual([0, 0, 0, 0, 0, 0]);
  expect((await room.counts()).waiting).toBe(8);
});

test("two bridges and a provider: its accounts see calls that are at most one apart", async () => {
  const world = await startPipeline({ settings: { freshnessSeconds: 0 } });
  onTestFinished(() => world.stop());
  vi.stubEnv("VIGILANE_INSTANCE", "bridge-2");
  const second = createBridge(world.settings, world.context);
  onTestFinished(() => second.stop());
  onTestFinished(() => void vi.unstubAllEnvs());
  await second.start();
  // Never as many at once as would fill a window.
  const counts: number[] = [];
  for (let i = 0; i < 9; i += 1) {
    const results = await world.outcomes(await world.offer(5, { cameraId: `cam-${i}` }));
    expect([...results.values()].flat().map(({ outcome }) => outcome)).toEqual(Array(5).fill("assessed"));
    counts.splice(0, counts.length, ...world.provider.stats().accounts.map(({ calls }) => calls));
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
  }
  expect(counts.toSorted()).toEqual([4, 4, 4, 4, 4, 5, 5, 5, 5, 5]);
});

test("a task costs the store as many commands with a thousand groups as with ten", async () => {
  const commandsATask = async (count: number) => {
    await first(connections).flushall();
    await use(groupsOf(count));
    await admit(1_200);
    await takeInTurn(1_000, [32]); // until all of them had their first task
    await first(connections).config("RESETSTAT");
    await takeInTurn(100, [2, 1]);
    const stats = await first(connections).info("commandstats");
    const calls = [...stats.matchAll(/cmdstat_(\w+):calls=(\d+)/g)];
    return (
      calls.filter(([, name]) => name !== "config" && name !== "info").reduce((sum, [, , n]) => sum + Number(n), 0) /
      100
    );
  };
  const ten = await commandsATask(10);
  expect(ten).toBeGreaterThan(5);
  expect(await commandsATask(1_000)).toBeLessThanOrEqual(1.3 * ten);
});

test("where workers rest before their group's next turn, many a group is met warm, and the counts are as even", async () => {
  const steered = await startSteeredStore(Date.parse("2026-01-01T00:00:00Z"));
  onTestFinished(() => steered.stop());
  const [quota, waiting] = [
    createQuota(steered.redis, steered.clock),
    createWaitingRoom(steered.redis, { maxWaiting: 9_000 }),
  ];
  const groups = groupsOf(100);
  await quota.register(groups, LIVES);
  await quota.hold(
    groups.map(({ id }) => ({ keyGroup: id, keyId: "key-1" })),
    1e9,
  );
  await waiting.admit(
    Array.from({ length: 500 }, () => anArrival({ freshnessSeconds: 0, capturedAtMs: steered.nowMs() })),
  );
  const names: string[] = [];
  const lastAt = new Map<string, number>();
  let warm = 0;
  for (let i = 0; i < 500; i += 1) {
    steered.set(steered.nowMs() + 1_000); // a round takes 100 s, and a worker rests after a minute
    const [one] = (await quota.take(1)).taken;
    const name = one?.keyGroup ?? "";
    names.push(name);
    if (i >= 100 && steered.nowMs() - (lastAt.get(name) ?? 0) < 60_000) warm += 1;
    lastAt.set(name, steered.nowMs());
  }
  expect(apartAtMost(names, idsOf(groups))).toBe(1);
  expect(warm / 400).toBeGreaterThan(0.25); // strict rotation: 0
});
