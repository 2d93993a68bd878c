/** How what is disabled or broken comes back: by probes, which cost no task anything. On a real Redis, then with bridge, workers and provider. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { systemClock } from "../../src/context.ts";
import { KeyGroupChange } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { fieldsToRecord } from "../../src/queues/key-state.ts";
import type { CallFeedback, CallSays, Quota, Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { snapshotPublisher } from "../../src/roles/key-group-snapshots.ts";
import { createWorker } from "../../src/roles/worker.ts";
import { connectStore } from "../../src/store.ts";
import { type Pipeline, startPipeline } from "../support/pipeline.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { aKeyGroup, anArrival, LIVES, refusesKey } from "../support/tasks.ts";

describe("in the store", () => {
  let server: TestRedis;
  let redis: Redis;
  let quota: Quota;
  let room: WaitingRoom;
  const group = (id: string) =>
    aKeyGroup({
      id,
      windows: [{ name: "requestsPerSecond", limit: 50, windowMs: 1_000 }],
      keys: [{ id: "key", secret: "s", weight: 1 }],
    });
  const hash = (id: string) => `{vl}:group:${id}`;

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
    room = createWaitingRoom(redis, { maxWaiting: 100 });
    await quota.register([group("a")], LIVES);
    await quota.hold(
      ["a", "b"].map((keyGroup) => ({ keyGroup, keyId: "key" })),
      600_000,
    );
  });

  async function take(): Promise<Taken> {
    const [one] = (await quota.take(1)).taken;
    if (!one) throw new Error("nothing taken");
    return one;
  }
  /** A call that ends so. */
  async function ends(lease: Taken, says: CallSays, probes: CallFeedback["probes"] = []) {
    const seen = { called: true, ok: false, latencyMs: 5, code: "KEY_REJECTED" as const, says, probes };
    return await quota.settle(
      lease,
      { kind: "back", avoidMs: 0 },
      { keyGroup: lease.keyGroup, keyId: lease.keyId, ...seen },
    );
  }
  const spend = async (lease: Taken, worker = "w:1") => await quota.spend(lease, worker, 5_000, false);
  /** The key is refused, and its probe is due now. */
  async function refusedAndDue() {
    const lease = await take();
    await spend(lease);
    await ends(lease, refusesKey(3_000));
    expect((await quota.take(1)).taken).toEqual([]);
    await redis.hset(hash("a"), "probeAt:key", 1);
    await redis.zadd("{vl}:free", 0, "a");
  }

  test("a probe is the least urgent task; when it fails it was none of the task's attempts, and another group judges it", async () => {
    const urgent = anArrival({ score: 0.9 });
    const calm = anArrival({ score: 0.1 });
    await room.admit([urgent, calm]);
    await refusedAndDue();
    const probe = await take();
    expect(probe.taskId).toBe(calm.task.taskId);
    expect((await quota.take(5)).taken).toEqual([]); // one at a time
    const granted = await spend(probe);
    expect(granted).toMatchObject({ kind: "granted", probes: ["key"] });
    await quota.register([group("a"), group("b")], LIVES);
    await ends(probe, refusesKey(3_000), ["key"]);
    const task = `{vl}:task:${calm.task.taskId}`;
    expect(await redis.hmget(task, "s", "a", "f")).toEqual(["waiting", "0", null]);
    const record = fieldsToRecord(await redis.hgetall(hash("a")), ":key");
    expect(record).toMatchObject({ off: "refused", strikes: 1, probingUntilMs: 0, inFlight: 0 });
    const elsewhere = (await quota.take(5)).taken;
    expect(elsewhere.map(({ keyGroup }) => keyGroup)).toEqual(["b", "b"]);
  });

  test("a probe may take half of its task's time, so that there is time elsewhere", async () => {
    await room.admit([anArrival({ freshnessSeconds: 8 })]);
    await refusedAndDue();
    const granted = await spend(await take());
    if (granted.kind !== "granted") throw new Error(granted.kind);
    expect(granted.timeoutMs).toBeGreaterThan(3_000);
    expect(granted.timeoutMs).toBeLessThanOrEqual(4_000);
    expect(granted.boundByDeadline).toBe(false);
  });

  test("a group known to be slow gets the time that it needs, however long ago that was learned", async () => {
    await room.admit([anArrival({ freshnessSeconds: 10 })]);
    await refusedAndDue();
    await redis.hset(hash("a"), { median: 6_000, p95: 6_400, medianAt: Date.now() - 60_000 });
    const granted = await quota.spend(await take(), "w:1", 8_000, false);
    expect(granted).toMatchObject({ kind: "granted", timeoutMs: 8_000, boundByDeadline: false, cutShort: false });
  });

  test("where every task has less time than the group needs it is asked again a second later, and after five minutes probed with half of it", async () => {
    await room.admit([anArrival({ freshnessSeconds: 5 }), anArrival({ freshnessSeconds: 5 })]);
    await refusedAndDue();
    const learned = { median: 6_000, p95: 6_400, medianAt: Date.now() };
    await redis.hset(hash("a"), learned);
    for (let i = 0; i < 2; i += 1) {
      const { taken, waitMs } = await quota.take(5);
      expect(taken).toEqual([]);
      expect(waitMs).toBeGreaterThan(500);
      expect(waitMs).toBeLessThanOrEqual(1_000);
    }
    await redis.hset(hash("a"), { medianAt: learned.medianAt - 301_000 });
    const lease = await vi.waitFor(take, { timeout: 3_000 });
    const granted = await quota.spend(lease, "w:1", 8_000, false);
    if (granted.kind !== "granted") throw new Error(granted.kind);
    expect(granted).toMatchObject({ boundByDeadline: false, cutShort: true });
    expect(granted.timeoutMs).toBeLessThanOrEqual(2_500);
  });

  test("of many tasks about to expire none is sent with a probe: the newest of the lowest band that has time is", async () => {
    const doomed = Array.from({ length: 40 }, (_, i) =>
      anArrival({ score: 0.1, capturedAtMs: Date.now() - 1_000 - i, cameraId: `cam-${i}` }),
    );
    const fresh = anArrival({ score: 0.1, cameraId: "cam-5" });
    await room.admit([...doomed, fresh, anArrival({ score: 0.9 })]);
    for (const { task } of doomed) await redis.hset(`{vl}:task:${task.taskId}`, "dl", Date.now() + 1_500);
    await refusedAndDue();
    expect((await take()).taskId).toBe(fresh.task.taskId);
  });

  test("the fan-out, which sleeps until a group is free, is told when a probe has made one free sooner", async () => {
    await room.admit([anArrival(), anArrival()]);
    await refusedAndDue();
    const probe = await take();
    await spend(probe);
    expect((await quota.take(1)).taken).toEqual([]);
    const signals = redis.duplicate();
    try {
      const told = new Promise((resolve) => signals.once("message", resolve));
      await signals.subscribe(KEYS.wake);
      const { keyGroup, keyId } = probe;
      const well: CallFeedback = { keyGroup, keyId, called: true, ok: true, latencyMs: 5, probes: ["key"] };
      await quota.settle(probe, { kind: "back", avoidMs: 0 }, well);
      await told;
      expect((await quota.take(1)).taken).toHaveLength(1);
    } finally {
      signals.disconnect();
    }
  });

  test("a probe that says nothing is followed by the next one seconds later, and what is known of the cause stays", async () => {
    await room.admit([anArrival(), anArrival()]);
    await refusedAndDue();
    const probe = await take();
    await spend(probe);
    const returned = { kind: "returned" as const };
    await ends(probe, { group: returned, key: returned, cools: "nothing" }, ["key"]);
    const [seconds, micros] = await redis.time();
    const record = fieldsToRecord(await redis.hgetall(hash("a")), ":key");
    const leftMs = record.probeAtMs - Number(seconds) * 1_000 - Number(micros) / 1_000;
    expect(leftMs).toBeGreaterThan(2_000);
    expect(leftMs).toBeLessThanOrEqual(3_000);
    expect(record).toMatchObject({ off: "refused", strikes: 0, probingUntilMs: 0 });
    expect(await redis.hget(hash("a"), "cause:key")).toBe("KEY_REJECTED");
    const { taken, waitMs } = await quota.take(5);
    expect(taken).toEqual([]);
    expect(waitMs).toBeGreaterThan(0);
  });

  test("a probe finds its task behind the backlog of a policy that its group is not for", async () => {
    const forA = { keyGroups: ["a"] };
    const forB = { keyGroups: ["b"] };
    await quota.register([group("a"), group("b")], { ...LIVES, policies: [forA, forB] });
    const urgent = anArrival({ score: 0.5, freshnessSeconds: 0, routing: forA });
    await room.admit([urgent]);
    await refusedAndDue();
    await room.admit(Array.from({ length: 60 }, () => anArrival({ score: 0.1, freshnessSeconds: 0, routing: forB })));
    await redis.hset(hash("b"), { coolUntil: Date.now() + 60_000 });
    const lease = await take();
    expect(lease).toMatchObject({ taskId: urgent.task.taskId, keyGroup: "a" });
  });

  test("a new key that is refused by its first call is an event, and its group's too", async () => {
    await room.admit([anArrival()]);
    const lease = await take();
    await spend(lease);
    await ends(lease, refusesKey(60_000));
    const publish = snapshotPublisher(quota, redis);
    await publish();
    await publish();
    const seen = (await redis.xrange(KEYS.keyGroupChanges, "-", "+"))
      .map(([id, fields]) => KeyGroupChange.parse({ ...JSON.parse(fields[1] ?? ""), id }))
      .map(({ keyGroup, keyId, from, to, cause }) => [keyGroup, keyId, from, to, cause]);
    expect(seen).toEqual([
      ["a", "key", "available", "disabled", "KEY_REJECTED"],
      ["a", null, "available", "disabled", "KEY_REJECTED"],
    ]);
  });

  test("a worker that dies with the probe frees its place", async () => {
    await room.admit([anArrival(), anArrival()]);
    await refusedAndDue();
    await spend(await take(), "w:dead");
    expect((await quota.take(1)).taken).toEqual([]);
    await room.sweep(["w:dead"]);
    expect(await spend(await take())).toMatchObject({ kind: "granted", probes: ["key"] });
  });

  test("what was taken for a key that is refused, or a group that cools, is back in the same step", async () => {
    await room.admit(Array.from({ length: 6 }, () => anArrival()));
    for (const says of [
      refusesKey(3_000),
      {
        ...refusesKey(0),
        group: { kind: "failed" as const, rest: { kind: "fixed" as const, ms: 9_000, varies: false } },
      },
    ]) {
      await quota.register([group("a")], LIVES, [{ keyGroup: "a", keyId: "key" }]);
      const { taken } = await quota.take(6);
      expect(taken).toHaveLength(6);
      await quota.markQueued(taken.slice(0, 3));
      const [first, ...others] = taken;
      if (!first) throw new Error("nothing taken");
      await spend(first);
      await ends(first, says);
      expect(await room.counts()).toEqual({ waiting: 6, moving: 0, calling: 0 });
      for (const lease of others) expect(await spend(lease)).toMatchObject({ kind: "stale" });
      expect(fieldsToRecord(await redis.hgetall(hash("a")), "").inFlight).toBe(0);
    }
  });

  test("what a person disabled is never probed, and begins anew when it is enabled", async () => {
    await room.admit([anArrival(), anArrival()]);
    await refusedAndDue();
    await quota.register([{ ...group("a"), keys: [] }], LIVES);
    const records = async () => {
      const all = await redis.hgetall(hash("a"));
      return [fieldsToRecord(all, "").off, fieldsToRecord(all, ":key").off];
    };
    expect(await records()).toEqual(["by_hand", "no"]); // its key is forgotten
    await redis.zadd("{vl}:free", 0, "a");
    expect((await quota.take(1)).taken).toEqual([]);
    expect(await quota.snapshot()).toMatchObject([{ state: "disabled", cause: null, disabledLeftMs: null }]);
    await quota.register([group("a")], LIVES, [{ keyGroup: "a", keyId: "key" }]);
    expect(await records()).toEqual(["no", "no"]);
    expect(await spend(await take())).toMatchObject({ kind: "granted", probes: [] });
  });

  test("fields of an earlier version mean nothing", async () => {
    await redis.hset(hash("a"), { disabled: "1", "off:key": "9999999999999.000", slowUntil: "0" });
    await room.admit([anArrival()]);
    expect(await spend(await take())).toMatchObject({ kind: "granted", probes: [] });
    expect(await quota.snapshot()).toMatchObject([{ state: "in_use", keys: [{ state: "in_use" }] }]);
  });
});

describe("with bridge, worker and provider", () => {
  /**
   * Offers single groups of new scenes until it is so, for `forMs` at most, never so many that they wait long; every one
   * of them is judged.
   */
  async function offerUntil(world: Pipeline, forMs: number, fulfilled: () => Promise<boolean>) {
    const ids: string[] = [];
    const until = performance.now() + forMs;
    const before = world.results.length;
    while (!(await fulfilled())) {
      expect(performance.now(), "in time").toBeLessThan(until);
      const unanswered = ids.length - (world.results.length - before);
      if (unanswered < 20) ids.push(...(await world.offer(2, { cameraId: `cam-${ids.length}` })));
      await wait(100); // the pace of the offer
    }
    const found = await world.outcomes(ids);
    expect([...found.values()].flat().map(({ outcome }) => outcome)).toEqual(ids.map(() => "assessed"));
  }
  const accountOf = (world: Pipeline, id: string) => {
    const account = world.provider.stats().accounts.find((one) => one.id === id);
    if (!account) throw new Error(`no account ${id}`);
    return account;
  };
  async function start(options: Parameters<typeof startPipeline>[0]) {
    const world = await startPipeline(options);
    onTestFinished(() => world.stop());
    const redis = new Redis(world.redis.url);
    onTestFinished(() => redis.disconnect());
    const record = async (id: string, suffix = "") => fieldsToRecord(await redis.hgetall(`{vl}:group:${id}`), suffix);
    return { world, redis, record };
  }

  test("a refused key is probed ever later by one of two workers, and comes back by itself", {
    timeout: 90_000,
  }, async () => {
    const { world, redis, record } = await start({ settings: { freshnessSeconds: 0 } });
    const second = createWorker(world.settings, world.context);
    onTestFinished(() => second.stop());
    await second.start();
    const [id, key] = ["simulated-03", ":key-03"];
    world.provider.setFaults({ deadKeys: ["sim-key-03"] }, id);
    await offerUntil(world, 30_000, async () => (await record(id, key)).off === "refused");
    await offerUntil(world, 10_000, async () => accountOf(world, id).inFlight === 0);
    const refusedBefore = accountOf(world, id).calls - (await record(id, key)).strikes;
    // 3 s, a tenth more or less; then 6.
    await offerUntil(world, 3 * 3_300, async () => (await record(id, key)).strikes === 1);
    const { probeAtMs } = await record(id, key);
    const [seconds] = await redis.time();
    expect(probeAtMs - Number(seconds) * 1_000).toBeGreaterThan(4_000);
    expect(accountOf(world, id).calls).toBe(refusedBefore + 1);

    world.provider.setFaults(null, id);
    await offerUntil(world, 3 * 6_600, async () => (await record(id, key)).off === "no");
    await offerUntil(world, 10_000, async () => accountOf(world, id).ok > 2);
    const seen = async () =>
      (await redis.xrange(KEYS.keyGroupChanges, "-", "+"))
        .map(([at, fields]) => KeyGroupChange.parse({ ...JSON.parse(fields[1] ?? ""), id: at }))
        .filter(({ keyGroup, keyId }) => keyGroup === id && keyId !== null)
        .map(({ from, to, cause }) => [from, to, cause]);
    await expect.poll(seen, { timeout: 6_000 }).toEqual([
      ["available", "disabled", "KEY_REJECTED"],
      ["disabled", "available", null],
    ]);
  });

  test("five failures in a row open a group's breaker, one probe after each rest decides, and no task fails", {
    timeout: 90_000,
  }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "vigilane-keys-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const keys = join(folder, "keys.yaml");
    // The older form says how long groups in trouble rest.
    writeFileSync(
      keys,
      `provider: simulated
keys:
  - { id: good, api_key: sim-key-01, qps_limit: 5, rpm_limit: 300 }
  - { id: shaky, api_key: sim-key-02, qps_limit: 5, rpm_limit: 300 }
cooling: { min_cooldown: 0.2, max_cooldown: 0.4 }
`,
    );
    const { world, record } = await start({ settings: { freshnessSeconds: 0, keys } });
    world.provider.setFaults({ refuse: "server" }, "simulated-02");
    await offerUntil(world, 30_000, async () => (await record("shaky")).open);
    await offerUntil(world, 30_000, async () => (await record("shaky")).strikes >= 2);
    const { calls } = accountOf(world, "simulated-02");
    const { strikes } = await record("shaky");
    // Half-open: each call is a probe, and each that fails is a strike.
    await offerUntil(world, 30_000, async () => (await record("shaky")).strikes > strikes);
    expect(accountOf(world, "simulated-02").calls - calls).toBeLessThanOrEqual(
      (await record("shaky")).strikes - strikes + 1,
    );
    world.provider.setFaults(null, "simulated-02");
    await offerUntil(world, 30_000, async () => !(await record("shaky")).open);
    await offerUntil(world, 10_000, async () => accountOf(world, "simulated-02").ok > 3);
    expect(await record("shaky")).toMatchObject({ off: "no", failures: 0, strikes: 0 });
  });

  test("under more load than all groups can take, a key that heals comes back with its first probes", {
    timeout: 60_000,
  }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "vigilane-keys-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const keys = join(folder, "keys.yaml");
    writeFileSync(
      keys,
      `provider: simulated
keys:
  - { id: ill, api_key: sim-key-01, qps_limit: 2, rpm_limit: 120 }
  - { id: well, api_key: sim-key-02, qps_limit: 2, rpm_limit: 120 }
`,
    );
    const { world, record } = await start({
      settings: { freshnessSeconds: 5, keys },
      simulator: { latency: { meanMs: 1_500, p95Ms: 1_600 } },
    });
    let offered = 0;
    /** Ten times of what the two can judge. */
    async function overload(forMs: number, fulfilled: () => Promise<boolean>) {
      const until = performance.now() + forMs;
      while (!(await fulfilled())) {
        expect(performance.now(), "in time").toBeLessThan(until);
        offered += (await world.offer(20, { cameraId: `cam-${offered % 5}` })).length;
        await wait(500); // the pace of the offer
      }
    }
    const off = async () => (await record("ill", ":ill")).off;
    const expired = () => world.results.some(({ outcome }) => outcome === "expired");
    await overload(30_000, async () => expired() && accountOf(world, "simulated-01").ok > 0);
    world.provider.setFaults({ deadKeys: ["sim-key-01"] }, "simulated-01");
    await overload(30_000, async () => (await off()) === "refused");
    world.provider.setFaults(null, "simulated-01");
    await overload(3 * 6_600, async () => (await off()) === "no");
  });

  test("a probe that is never answered costs its task half of its time, and no verdict", {
    timeout: 60_000,
  }, async () => {
    const { world, redis, record } = await start({ settings: { freshnessSeconds: 8 } });
    world.provider.setFaults({ hang: true }, "simulated-01");
    await redis.hset("{vl}:group:simulated-01", { open: "1", failures: "5" });
    await redis.zadd("{vl}:free", 0, "simulated-01"); // asked first
    const ids = await world.offer(1);
    const [result] = (await world.outcomes(ids)).get(ids[0] ?? "") ?? [];
    expect(result).toMatchObject({ outcome: "assessed", metadata: { attempts: 1 } });
    expect(result?.metadata.keyGroup).not.toBe("simulated-01");
    expect(accountOf(world, "simulated-01")).toMatchObject({ calls: 1, ok: 0 });
    expect(await record("simulated-01")).toMatchObject({ open: true, strikes: 1, probingUntilMs: 0 });
  });

  test("a slow group passes its probe though half of the task's time would not do", { timeout: 60_000 }, async () => {
    const { world, redis, record } = await start({
      settings: { freshnessSeconds: 5 },
      simulator: { latency: { meanMs: 3_000, p95Ms: 3_100 } },
    });
    const learned = { median: 3_000, p95: 3_100, medianAt: Date.now() - 60_000 };
    await redis.hset("{vl}:group:simulated-01", { open: "1", failures: "5", ...learned });
    await redis.zadd("{vl}:free", 0, "simulated-01"); // asked first
    const ids = await world.offer(1);
    const [result] = (await world.outcomes(ids)).get(ids[0] ?? "") ?? [];
    expect(result).toMatchObject({ outcome: "assessed", metadata: { keyGroup: "simulated-01" } });
    expect(await record("simulated-01")).toMatchObject({ open: false, strikes: 0, probingUntilMs: 0 });
  });

  test("a probe that was given less time than its group is known to need blames nobody, and its task is judged elsewhere", {
    timeout: 60_000,
  }, async () => {
    const { world, redis, record } = await start({ settings: { freshnessSeconds: 6 } });
    world.provider.setFaults({ hang: true }, "simulated-01");
    const learned = { median: 7_000, p95: 7_000, medianAt: Date.now() - 301_000 };
    await redis.hset("{vl}:group:simulated-01", { open: "1", failures: "5", ...learned });
    await redis.zadd("{vl}:free", 0, "simulated-01"); // asked first
    const ids = await world.offer(1);
    const [result] = (await world.outcomes(ids)).get(ids[0] ?? "") ?? [];
    expect(result).toMatchObject({ outcome: "assessed", metadata: { attempts: 1 } });
    expect(result?.metadata.keyGroup).not.toBe("simulated-01");
    expect(accountOf(world, "simulated-01")).toMatchObject({ calls: 1, ok: 0 });
    expect(await record("simulated-01")).toMatchObject({ open: true, failures: 5, strikes: 0 });
    expect(await redis.hget("{vl}:group:simulated-01", "fail:CALL_TIMED_OUT")).toBeNull();
  });
});
