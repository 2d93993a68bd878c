/**
 * The states that the store keeps of a key group and its keys against the law as it is written down (key-state.ts, rest.ts):
 * whatever calls say, lapse, die or are switched off, each record is what the law makes of it, a lease is granted exactly when
 * the law lets one through, and a probe is the least urgent task. On a store whose clock the test steers. VIGILANE_LONG=1: many
 * more cases.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  afterEvent,
  FRESH,
  fieldsToRecord,
  type KeyEvent,
  type KeyRecord,
  mayCall,
} from "../../src/queues/key-state.ts";
import type { CallFeedback, CallSays, Quota, Rest, Said, Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import { type FailureShare, NO_CALLS, noted, restMs, shareOf } from "../../src/queues/rest.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { type SteeredStore, startSteeredStore } from "../support/steered-store.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";

const RUNS = process.env.VIGILANE_LONG === "1" ? 400 : 12;
const TASKS = 80;
const CALL_MS = 5_000;
const LEASE_MS = 1_000;
const GROUP = "{vl}:group:group-a";

let store: SteeredStore;
beforeAll(async () => {
  store = await startSteeredStore(Date.parse("2026-01-01T00:00:00Z"));
});
afterAll(() => store?.stop());

const rest: fc.Arbitrary<Rest> = fc.oneof(
  fc.record({ kind: fc.constant("fixed" as const), ms: fc.nat(20_000), varies: fc.boolean() }),
  fc.record({
    kind: fc.constant("by_share" as const),
    calmMs: fc.integer({ min: 1, max: 2_000 }),
    calmMostMs: fc.integer({ min: 2_000, max: 10_000 }),
    tolerated: fc.constantFrom(0, 0.2),
    leastMs: fc.integer({ min: 1, max: 10_000 }),
    mostMs: fc.integer({ min: 1, max: 120_000 }),
  }),
);
const said: fc.Arbitrary<Said> = fc.oneof(
  fc.record({ kind: fc.constantFrom("returned" as const, "innocent" as const) }),
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom("limited" as const, "failed" as const, "failed" as const), rest }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("refused" as const),
      firstMs: fc.constantFrom(3_000, 60_000),
      untilInMs: fc.option(fc.integer({ min: 1, max: 7_200_000 })),
    }),
  },
);
/** What became of a call; null: it was answered. */
const says: fc.Arbitrary<CallSays | null> = fc.option(
  fc.record({ group: said, key: said, cools: fc.constantFrom("group", "key", "requestsPerMinute") }),
  { freq: 3 },
);
const step = fc.record({
  what: fc.oneof(
    { weight: 10, arbitrary: fc.constantFrom("call" as const, "take" as const, "spend" as const, "settle" as const) },
    { weight: 3, arbitrary: fc.constantFrom("sweep" as const, "die" as const, "storm" as const, "start" as const) },
    { weight: 1, arbitrary: fc.constantFrom("a" as const, "b" as const, "both" as const, "all on" as const) },
  ),
  pick: fc.nat(7),
  says,
  random: fc.double({ min: 0, max: 0.999, noNaN: true }),
  waitMs: fc.oneof(
    { weight: 6, arbitrary: fc.nat(300) },
    { weight: 3, arbitrary: fc.nat(9_000) },
    { weight: 1, arbitrary: fc.constantFrom(70_000, 4_000_000) },
  ),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface Call {
  lease: Taken;
  probes: readonly ("group" | "key")[];
}

class World {
  readonly room: WaitingRoom = createWaitingRoom(store.redis, { maxWaiting: 1_000 });
  readonly quota: Quota = createQuota(store.redis, store.clock);
  readonly records: Record<"group" | "a" | "b", KeyRecord> = { group: FRESH, a: FRESH, b: FRESH };
  share: FailureShare = NO_CALLS;
  on = ["a", "b"];
  unspent: Call[] = [];
  calls: Call[] = [];
  probes = 0;
  granted = 0;

  async register(on: readonly string[]) {
    const keys = on.map((id) => ({ id, secret: `s-${id}`, weight: 1 }));
    const renewed = on.filter((id) => !this.on.includes(id)).map((keyId) => ({ keyGroup: "group-a", keyId }));
    await this.quota.register([aKeyGroup({ windows: [], keys })], LIVES, renewed);
    const { records } = this;
    for (const id of ["a", "b"] as const) {
      if (!on.includes(id) && this.on.includes(id))
        records[id] = afterEvent(records[id], { kind: "switched_off" }, 0, 0);
      if (on.includes(id) && !this.on.includes(id)) records[id] = { ...FRESH, inFlight: records[id].inFlight };
    }
    if (on.length === 0) records.group = afterEvent(records.group, { kind: "switched_off" }, 0, 0);
    // All its keys are new ones.
    else if (renewed.length === on.length) records.group = { ...FRESH, inFlight: records.group.inFlight };
    this.on = [...on];
  }

  /** What happens to a lease's group and key, each as far as it is what was probed. */
  happens({ lease, probes }: Call, group: (probe: boolean) => KeyEvent, key: (probe: boolean) => KeyEvent, random = 0) {
    const { records } = this;
    const keyId = lease.keyId as "a" | "b";
    records.group = afterEvent(records.group, group(probes.includes("group")), store.nowMs(), random);
    records[keyId] = afterEvent(records[keyId], key(probes.includes("key")), store.nowMs(), random);
  }

  returned(call: Call) {
    const event = (probe: boolean): KeyEvent => ({ kind: "returned", probe, called: false });
    this.happens(call, event, event);
  }

  /** Leases that went back and calls that were given up, by whatever the last step did. */
  async noticeReturns() {
    for (const list of ["unspent", "calls"] as const) {
      const gone: Call[] = [];
      for (const call of this[list]) {
        const { taskId, epoch } = call.lease;
        const [state, at] = await store.redis.hmget(`{vl}:task:${taskId}`, "s", "e");
        const stays = Number(at) === epoch && (list === "calls" ? state === "calling" : state === "taken");
        if (!stays) gone.push(call);
      }
      for (const call of gone) this.returned(call);
      this[list] = this[list].filter((call) => !gone.includes(call));
    }
  }

  async take() {
    const nowMs = store.nowMs();
    const { records } = this;
    const whole = mayCall(records.group, nowMs).kind;
    const free = this.on.filter((id) => mayCall(records[id as "a"], nowMs).kind !== "no");
    const least = await leastUrgent();
    const [lease] = (await this.quota.take(1)).taken;
    expect(lease !== undefined, "a lease was granted").toBe(whole !== "no" && free.length > 0 && least !== undefined);
    if (!lease) return;
    const key = mayCall(records[lease.keyId as "a"], nowMs).kind;
    expect(key).not.toBe("no");
    const probes = [...(whole === "probe" ? (["group"] as const) : []), ...(key === "probe" ? (["key"] as const) : [])];
    if (probes.length > 0) expect(lease.taskId).toBe(least);
    expect(await store.redis.hget(`{vl}:task:${lease.taskId}`, "p")).toBe(probes.join(","));
    const call = { lease, probes };
    this.probes += probes.length;
    this.happens(call, taken, taken);
    this.unspent.push(call);
  }

  async spend(call: Call) {
    const answer = await this.quota.spend(call.lease, "w:1", CALL_MS, false);
    if (answer.kind !== "granted") return; // seen as returned
    this.granted += 1;
    expect(answer.probes).toEqual(call.probes);
    this.unspent = this.unspent.filter((one) => one !== call);
    const begun = (probe: boolean): KeyEvent => ({ kind: "begun", probe, endsByMs: store.nowMs() + CALL_MS + 2_000 });
    this.happens(call, begun, begun);
    this.calls.push(call);
  }

  async settle(call: Call, told: CallSays | null, random: number) {
    const { keyGroup, keyId } = call.lease;
    const feedback: CallFeedback = { keyGroup, keyId, called: true, ok: told === null, latencyMs: 5, random };
    this.calls = this.calls.filter((one) => one !== call);
    const settled = await this.quota.settle(
      call.lease,
      { kind: "back", avoidMs: 0 },
      { ...feedback, probes: [...call.probes], ...(told && { says: told, code: "PROVIDER_FAILED" as const }) },
    );
    const blamed = told !== null && ["limited", "failed", "refused"].includes(told.group.kind);
    if (told === null || blamed) this.share = noted(this.share, blamed, store.nowMs());
    const before = this.records.group.coolUntilMs;
    this.happens(call, this.event(told?.group, random), this.event(told?.key, random), random);
    const after = this.records.group.coolUntilMs;
    expect(settled.restMs).toBeCloseTo(after > before ? after - store.nowMs() : 0, 2);
  }

  async start() {
    await this.quota.probeNow(["a", "b"].map((keyId) => ({ keyGroup: "group-a", keyId })));
    const { records } = this;
    for (const id of ["group", "a", "b"] as const)
      records[id] = afterEvent(records[id], { kind: "worker_started" }, store.nowMs(), 0);
  }

  /** From its lease to its end at once. */
  async call(told: CallSays | null, random: number) {
    await this.take();
    const newest = this.unspent.at(-1);
    if (newest) await this.spend(newest);
    await this.noticeReturns();
    const last = this.calls.at(-1);
    if (last) await this.settle(last, told, random);
    await this.noticeReturns();
  }

  event(one: Said | undefined, random: number): (probe: boolean) => KeyEvent {
    return (probe) => {
      if (!one) return { kind: "succeeded", probe };
      if ("rest" in one) return { kind: one.kind, probe, coolMs: restMs(one.rest, shareOf(this.share), random) };
      if (one.kind === "returned") return { kind: one.kind, probe, called: true };
      if (one.kind !== "refused") return { kind: one.kind, probe };
      const untilMs = one.untilInMs === null ? null : store.nowMs() + one.untilInMs;
      return { kind: "refused", probe, firstMs: one.firstMs, untilMs };
    };
  }

  async agrees() {
    const hash = await store.redis.hgetall(GROUP);
    for (const [name, suffix] of [
      ["group", ""],
      ["a", ":a"],
      ["b", ":b"],
    ] as const) {
      // One that is switched off is forgotten, unless a call of it is under way.
      if (name !== "group" && !this.on.includes(name) && !(`off${suffix}` in hash)) {
        expect([...this.unspent, ...this.calls].filter(({ lease }) => lease.keyId === name)).toEqual([]);
        continue;
      }
      expect(rounded(fieldsToRecord(hash, suffix)), name).toEqual(rounded(this.records[name]));
    }
    expect(Number(hash.shareFailed ?? 0)).toBeCloseTo(this.share.failed, 3);
    expect(Number(hash.shareOk ?? 0)).toBeCloseTo(this.share.succeeded, 3);
  }
}

/** As soon as a lease is taken it may be a probe's. */
const taken = (): KeyEvent => ({ kind: "taken", endsByMs: store.nowMs() + LEASE_MS });
/** Of the lowest band that waits the newest. */
async function leastUrgent(): Promise<string | undefined> {
  for (let band = 0; band < 5; band += 1) {
    const [newest] = await store.redis.zrevrangebyscore(
      "{vl}:wait",
      `(${(band + 1) * 1e14}`,
      band * 1e14,
      "LIMIT",
      0,
      1,
    );
    if (newest !== undefined) return newest;
  }
  return undefined;
}
const rounded = (record: KeyRecord) =>
  Object.fromEntries(Object.entries(record).map(([name, v]) => [name, typeof v === "number" ? Math.round(v) : v]));

async function aWorld(): Promise<World> {
  store.set(Date.parse("2026-01-01T00:00:00Z"));
  await store.redis.flushall();
  const world = new World();
  await world.register(["a", "b"]);
  const keys = ["a", "b"].map((keyId) => ({ keyGroup: "group-a", keyId }));
  await world.quota.hold(keys, 1e12);
  const arrivals = Array.from({ length: TASKS }, (_, i) =>
    anArrival({ freshnessSeconds: 0, score: (i % 10) / 10, capturedAtMs: store.nowMs() - i }),
  );
  await world.room.admit(arrivals);
  return world;
}

async function play(world: World, { what, pick, says: told, random }: Step) {
  const lease = world.unspent[pick % Math.max(1, world.unspent.length)];
  const call = world.calls[pick % Math.max(1, world.calls.length)];
  switch (what) {
    case "take":
      return await world.take();
    case "spend":
      return lease && (await world.spend(lease));
    case "settle":
      return call && (await world.settle(call, told, random));
    case "call":
      return await world.call(told, random);
    case "storm": {
      const failed: Said = { kind: "failed", rest: { kind: "fixed", ms: pick < 4 ? 0 : 500, varies: false } };
      for (let i = 0; i < 6; i += 1)
        await world.call({ group: failed, key: { kind: "returned" }, cools: "group" }, random);
      return;
    }
    case "sweep":
      return await world.room.sweep();
    case "die":
      return await world.room.sweep(["w:1"]);
    case "start":
      return await world.start();
    case "a":
    case "b":
      return await world.register([what === "a" ? "b" : "a"]);
    case "both":
      return await world.register([]);
    case "all on":
      return await world.register(["a", "b"]);
    default:
      return what satisfies never;
  }
}

test("the store's records are what the law makes of them, and leases follow them", { timeout: 600_000 }, async () => {
  const seen = { granted: 0, probes: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60, size: "max" }), async (steps) => {
      const world = await aWorld();
      for (const one of steps) {
        store.set(store.nowMs() + one.waitMs);
        // What lapses would make the group rest for a reason of its own.
        await world.room.sweep();
        await store.redis.hdel(GROUP, "lapses", "slowUntil");
        await world.noticeReturns();
        await play(world, one);
        await world.noticeReturns();
        await world.agrees();
      }
      seen.granted += world.granted;
      seen.probes += world.probes;
    }),
    // A counterexample is as short as it came: shrinking one takes minutes.
    { numRuns: RUNS, endOnFailure: true },
  );
  // Else it showed little.
  expect(seen.granted).toBeGreaterThan(RUNS * 3);
  expect(seen.probes).toBeGreaterThan(RUNS);
});

test("when the store's clock steps back, what cools is called and what is disabled is probed at once", async () => {
  const world = await aWorld();
  const refused: Said = { kind: "refused", firstMs: 60_000, untilInMs: null };
  await world.register(["a"]);
  await world.call({ group: { kind: "returned" }, key: refused, cools: "key" }, 0);
  expect((await world.quota.take(1)).taken).toEqual([]);
  store.set(store.nowMs() - 3_600_000);
  await world.room.sweep();
  await world.quota.hold([{ keyGroup: "group-a", keyId: "a" }], 60_000); // as living workers do within a second
  await store.redis.zadd("{vl}:free", 0, "group-a");
  const [probe] = (await world.quota.take(1)).taken;
  expect(await store.redis.hget(`{vl}:task:${probe?.taskId}`, "p")).toBe("key");

  await store.redis.flushall();
  const other = await aWorld();
  await other.call(
    { group: { kind: "limited", rest: { kind: "fixed", ms: 60_000, varies: false } }, key: refused, cools: "key" },
    0,
  );
  expect((await other.quota.take(1)).taken).toEqual([]);
  store.set(store.nowMs() - 3_600_000);
  await other.room.sweep();
  await other.quota.hold([{ keyGroup: "group-a", keyId: "b" }], 60_000);
  await store.redis.zadd("{vl}:free", 0, "group-a");
  expect((await other.quota.take(1)).taken).toHaveLength(1);
});
