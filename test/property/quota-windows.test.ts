/**
 * Windows of every kind and unit against a model that shares no code with them: whatever comes, lapses, dies half-way, is
 * refunded or settled, no window is ever exceeded at the stamps, nothing that was surely not spent stays reserved, and every
 * task ends once. On a store whose clock the test steers, so that days pass too. VIGILANE_LONG=1: many more cases.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { KeyGroup } from "../../src/queues/key-groups.ts";
import type { Quota, Taken } from "../../src/queues/quota.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { type QuotaWindow, windowsByAccount } from "../../src/queues/window.ts";
import { type SteeredStore, startSteeredStore } from "../support/steered-store.ts";
import { aKeyGroup, anArrival, LIVES } from "../support/tasks.ts";
import { exceeds, usedAt } from "../support/window-model.ts";

const RUNS = process.env.VIGILANE_LONG === "1" ? 120 : 6;
const DAY = 86_400_000;
/** A guard never grows here, since nothing is refused, and begins at this. */
const GUARD = 25;
/** A bucket of a sliding day's log; of two hours'. */
const sliceOf = (windowMs: number) => (windowMs > 3_600_000 ? Math.ceil(windowMs / 288) : 0);
/** Midnights with and without a change of clocks near by. */
const STARTS = ["2026-03-07T20:00:00Z", "2026-10-31T22:00:00Z", "2026-06-15T06:59:59Z", "2026-11-01T08:59:58Z"];

let store: SteeredStore;
beforeAll(async () => {
  store = await startSteeredStore(Date.parse("2026-01-01T00:00:00Z"));
});
afterAll(() => store?.stop());

const requestWindow: fc.Arbitrary<Omit<QuotaWindow, "name">> = fc.oneof(
  fc.record({ limit: fc.integer({ min: 1, max: 6 }), windowMs: fc.constantFrom(200, 1_000, 60_000, 7_200_000, DAY) }),
  fc.record({
    limit: fc.integer({ min: 1, max: 6 }),
    windowMs: fc.constantFrom(150, 1_000, 60_000, 3_600_000),
    kind: fc.constantFrom("fixed" as const, "bucket" as const),
  }),
  fc.record({
    limit: fc.integer({ min: 2, max: 9 }),
    windowMs: fc.constant(DAY),
    kind: fc.constant("calendar" as const),
    zone: fc.constantFrom("America/Los_Angeles", "Europe/Berlin", "UTC"),
  }),
);
const window = fc
  .tuple(requestWindow, fc.boolean())
  .map(([one, tokens]) => (tokens ? { ...one, unit: "tokens" as const, limit: one.limit * 2_500 } : one));

const groupsOf = fc
  .array(
    fc.record({
      account: fc.constantFrom("one", "two"),
      windows: fc.array(window, { minLength: 1, maxLength: 3 }),
      maxConcurrent: fc.constantFrom(0, 0, 0, 2),
    }),
    { minLength: 1, maxLength: 3 },
  )
  .map((all) =>
    all.map(({ windows, ...rest }, i) =>
      aKeyGroup({ ...rest, id: `g${i}`, windows: windows.map((one, n) => ({ ...one, name: `w${i}-${n}` })) }),
    ),
  );

/** `pick` chooses among the leases that stand at that point. A lease that no step picks is one whose process died. */
const step = fc.record({
  what: fc.oneof(
    { weight: 20, arbitrary: fc.constant("call" as const) },
    { weight: 12, arbitrary: fc.constantFrom("take" as const, "spend" as const, "settle" as const) },
    { weight: 6, arbitrary: fc.constantFrom("restamp" as const, "back" as const, "sweep" as const, "die" as const) },
    { weight: 1, arbitrary: fc.constant("rename" as const) },
  ),
  pick: fc.nat(7),
  waitMs: fc.oneof(
    { weight: 10, arbitrary: fc.integer({ min: 0, max: 40 }) },
    { weight: 5, arbitrary: fc.integer({ min: 40, max: 1_500 }) },
    { weight: 1, arbitrary: fc.constantFrom(20_000, 61_000, 1_900_000, 6 * 3_600_000) },
  ),
  /** Of what was reserved. */
  share: fc.constantFrom(0, 0.3, 0.6, 0.6, 1, 1.4),
});

/** A spent call, in the model's eyes. */
interface Call {
  lease: Taken;
  account: string;
  spentAtMs: number;
  /** Its stamp. */
  atMs: number;
  tokens: number;
  settled: boolean;
}

class World {
  readonly room: WaitingRoom;
  readonly quota: Quota;
  readonly accounts: Map<string, QuotaWindow[]>;
  readonly calls: Call[] = [];
  unspent: Taken[] = [];
  renamed = false;
  overEstimate = false;
  groups: KeyGroup[];

  constructor(groups: KeyGroup[]) {
    this.groups = groups;
    this.room = createWaitingRoom(store.redis, { maxWaiting: 1_000 });
    this.quota = createQuota(store.redis, store.clock);
    this.accounts = new Map([...windowsByAccount(groups)].map(([account, { windows }]) => [account, windows]));
  }

  async register() {
    await this.quota.register(this.groups, LIVES);
    const keys = this.groups.flatMap((group) => group.keys.map((key) => ({ keyGroup: group.id, keyId: key.id })));
    await this.quota.hold(keys, 4_000 * DAY);
  }

  account(lease: Taken): string {
    const nth = Number(/^g(\d+)/.exec(lease.keyGroup)?.[1]);
    return this.groups[nth]?.account ?? "";
  }

  /** How one call stands against all windows of its account. */
  faultsOf(call: Call): string[] {
    const others = this.calls.filter((one) => one !== call && one.account === call.account);
    return (this.accounts.get(call.account) ?? [])
      .filter((one) => exceeds(others, one, call))
      .map((one) => `${JSON.stringify(one)} at ${call.atMs}, beside ${usedAt(others, one, call.atMs)}`);
  }

  async spend(lease: Taken) {
    const tokens = Number(await store.redis.hget(`{vl}:lease:${lease.taskId}#${lease.epoch}`, "n"));
    const answer = await this.quota.spend(lease, "w:1", 5_000, false);
    this.unspent = this.unspent.filter((one) => one !== lease);
    if (answer.kind !== "granted") return;
    const atMs = Number(answer.startedAt);
    const call: Call = { lease, account: this.account(lease), spentAtMs: atMs, atMs, tokens, settled: false };
    this.calls.push(call);
    expect(this.faultsOf(call)).toEqual([]);
  }

  async settle(call: Call, share: number, back = false) {
    call.settled = true;
    if (share > 1) this.overEstimate = true;
    const tokens = Math.round(call.tokens * share);
    const { keyGroup, keyId } = call.lease;
    const feedback = { keyGroup, keyId, called: true, ok: !back, latencyMs: 5, ...(!back && { tokens }) };
    const ending = back
      ? ({ kind: "back", avoidMs: 0 } as const)
      : ({ kind: "assessed", verdict: {}, meta: {} } as const);
    await this.quota.settle(call.lease, ending, feedback);
    // Ten minutes after its time-out a call is not waited for any more: what it reserved is what it took.
    if (!back && store.nowMs() < call.spentAtMs + 606_000) call.tokens = tokens;
  }

  /** Every lease that was not spent is gone; what the store counts is what was spent, but for what a kind is stricter by. */
  async nothingLeaks() {
    store.set(store.nowMs() + 1_100);
    await this.room.sweep();
    this.unspent = [];
    const nowMs = store.nowMs();
    for (const group of await this.quota.snapshot()) {
      if (group.state === "removed") continue;
      const account = this.account({ keyGroup: group.id } as Taken);
      const calls = this.calls.filter((call) => call.account === account);
      for (const one of group.windows) {
        const what = `${JSON.stringify(one)} of ${account} at ${nowMs}`;
        const least = usedAt(calls, one, nowMs);
        expect(one.used, what).toBeGreaterThanOrEqual(Math.floor(Math.min(least, one.limit)));
        if (one.kind === "bucket") continue; // what it may be stricter by is seen once it is full again
        const wider = {
          ...one,
          windowMs: one.windowMs + (one.kind === "sliding" ? GUARD + 1 + sliceOf(one.windowMs) : 0),
        };
        const nearBoundary = one.kind === "sliding" ? 0 : GUARD + 1;
        const most = Math.max(
          ...[-nearBoundary, 0, nearBoundary].map((off) =>
            usedAt(
              calls.map((c) => ({ ...c, atMs: c.atMs + off })),
              wider,
              nowMs,
            ),
          ),
        );
        expect(one.used, what).toBeLessThanOrEqual(most);
      }
    }
  }
}

test("no window is exceeded at the stamps, nothing leaks, and every task ends once, whatever happens", {
  timeout: 600_000,
}, async () => {
  let granted = 0;
  const holds = fc.asyncProperty(
    groupsOf,
    fc.array(step, { minLength: 20, maxLength: 70, size: "max" }),
    fc.constantFrom(...STARTS),
    async (groups, steps, start) => {
      store.set(Date.parse(start));
      await store.redis.flushall();
      const world = new World(groups);
      await world.register();
      const arrivals = Array.from({ length: 40 }, () =>
        anArrival({ freshnessSeconds: 0, capturedAtMs: store.nowMs() }),
      );
      await world.room.admit(arrivals);
      for (const one of steps) {
        store.set(store.nowMs() + one.waitMs);
        if (one.waitMs > 3_600_000) await world.quota.renewCalendar(world.groups);
        await play(world, one);
      }
      granted += world.calls.length;
      await world.nothingLeaks();
      await fullAgain(world);
      await drain(world, arrivals.length + 12);
    },
  );
  // Where the drawn windows are of one call a day, a run grants little: it goes on until it has shown enough.
  for (let turn = 0; turn < 5 && granted <= RUNS * 3; turn++) await fc.assert(holds, { numRuns: RUNS });
  expect(granted).toBeGreaterThan(RUNS * 3); // else it showed little
});

async function play(world: World, { what, pick, share }: typeof step extends fc.Arbitrary<infer T> ? T : never) {
  const open = world.calls.filter((call) => !call.settled);
  const lease = world.unspent[pick % Math.max(1, world.unspent.length)];
  const call = open[pick % Math.max(1, open.length)];
  switch (what) {
    case "call": {
      // Straight from its lease to its call, some ms later.
      const { taken } = await world.quota.take(1 + (pick % 2));
      store.set(store.nowMs() + pick);
      for (const one of taken) await world.spend(one);
      return;
    }
    case "take": {
      const { taken } = await world.quota.take(1 + (pick % 3));
      world.unspent.push(...taken);
      if (pick % 2) await world.quota.markQueued(taken);
      return;
    }
    case "spend":
      if (lease) await world.spend(lease);
      return;
    case "restamp":
      // Within the guard of its stamp, as the guard is there for; later ones are stamped all the same.
      if (call && store.nowMs() - call.atMs < GUARD - 10) {
        await world.quota.restamp(call.lease);
        const taskIsStillIts =
          Number(await store.redis.hget(`{vl}:task:${call.lease.taskId}`, "e")) === call.lease.epoch;
        const calling = (await store.redis.hget(`{vl}:task:${call.lease.taskId}`, "s")) === "calling";
        if (taskIsStillIts && calling) call.atMs = store.nowMs();
        if (!world.overEstimate) expect(world.faultsOf(call)).toEqual([]);
      }
      return;
    case "settle":
      if (call) await world.settle(call, share);
      return;
    case "back":
      if (call) await world.settle(call, 1, true);
      return;
    case "sweep":
      await world.room.sweep();
      return;
    case "die":
      await world.room.sweep(["w:1"]);
      return;
    case "rename": {
      // Other ids, the same accounts: what was taken and not begun goes back, what was spent stays counted.
      world.renamed = !world.renamed;
      world.groups = world.groups.map((group, i) => ({ ...group, id: world.renamed ? `g${i}-anew` : `g${i}` }));
      await world.register();
      expect(await store.redis.zcard("{vl}:leases")).toBe(0);
      return;
    }
    default:
      what satisfies never;
  }
}

/** Once all that was counted is past, as many calls fit at once as the narrowest window of the account says. */
async function fullAgain(world: World) {
  for (const call of world.calls) if (!call.settled) await world.settle(call, 0.5);
  const windows = [...world.accounts.values()].flat();
  const longest = Math.max(
    ...windows.map((one) => one.windowMs + sliceOf(one.windowMs) + (one.kind === "calendar" ? 3_600_000 : 0)),
  );
  store.set(store.nowMs() + Math.max(longest + 2 * GUARD, 31_000));
  await world.quota.renewCalendar(world.groups);
  await world.room.sweep();
  await world.room.admit(
    Array.from({ length: 12 }, () => anArrival({ freshnessSeconds: 0, capturedAtMs: store.nowMs() })),
  );
  for (const { id } of world.groups) await store.redis.zadd("{vl}:free", "XX", 0, id);
  const { taken } = await world.quota.take(1_000);
  world.unspent.push(...taken);
  const spent = Map.groupBy(taken, (lease) => world.account(lease));
  for (const [account, some] of world.accounts) {
    const slots = world.groups.filter((group) => group.account === account).map((group) => group.maxConcurrent);
    const most = Math.min(
      ...slots.filter((n) => n > 0),
      ...some.map((one) => (one.unit === "tokens" ? one.limit / 2_500 : one.limit)),
    );
    if ((await world.room.counts()).waiting > 0)
      expect(spent.get(account)?.length ?? 0, JSON.stringify(some)).toBeGreaterThanOrEqual(most);
  }
}

/** What `take` says of the time to wait leads to the end of all tasks. */
async function drain(world: World, admitted: number) {
  let idle = 0;
  for (let turn = 0; turn < 1_000; turn++) {
    await Promise.all(world.unspent.map((lease) => world.spend(lease)));
    await Promise.all(world.calls.filter((call) => !call.settled).map((call) => world.settle(call, 0.5)));
    const { taken, waitMs } = await world.quota.take(32);
    world.unspent.push(...taken);
    idle = taken.length > 0 ? 0 : idle + 1;
    if (idle === 0) continue;
    if ((await store.redis.xlen("{vl}:outbox")) >= admitted) break;
    // A group whose tokens would do for a smaller task is asked anew each second.
    store.set(store.nowMs() + Math.max(waitMs ?? 0, 1) * 4 ** Math.min(idle - 1, 7));
    await world.quota.renewCalendar(world.groups);
    await world.room.sweep();
  }
  const ended = (await store.redis.xrange("{vl}:outbox", "-", "+")).map(
    ([, fields]) => fields[fields.indexOf("id") + 1],
  );
  expect(new Set(ended).size).toBe(ended.length);
  expect(ended.length).toBe(admitted);
}

test("what a bucket gets back late is not what dripped over meanwhile, and what it gets back while busy is all of it", async () => {
  store.set(Date.parse("2026-03-07T12:00:00Z"));
  await store.redis.flushall();
  const world = new World([
    aKeyGroup({ id: "g0", windows: [{ name: "w", limit: 8_000, windowMs: 10_000, unit: "tokens", kind: "bucket" }] }),
  ]);
  await world.register();
  await world.room.admit(
    Array.from({ length: 20 }, () => anArrival({ freshnessSeconds: 0, capturedAtMs: store.nowMs() })),
  );
  /** Calls as many as are let through at once; each is checked against the model. */
  const callAll = async (most: number) => {
    await store.redis.zadd("{vl}:free", 0, "g0");
    const { taken } = await world.quota.take(most);
    for (const lease of taken) await world.spend(lease);
    return world.calls.slice(world.calls.length - taken.length);
  };
  const [early] = await callAll(1);
  store.set(store.nowMs() + 11_000); // long full again
  expect(await callAll(9)).toHaveLength(4);
  if (early) await world.settle(early, 0);
  expect(await callAll(9)).toHaveLength(0);

  store.set(store.nowMs() + 2_600); // not full, and never since
  const [busy] = await callAll(9);
  expect(busy).toBeDefined();
  store.set(store.nowMs() + 1_500);
  expect(await callAll(9)).toHaveLength(0);
  if (busy) await world.settle(busy, 0);
  expect((await world.quota.snapshot())[0]?.windows[0]?.used).toBeLessThan(4_800); // and not 5,800, which is less what refilled
  expect(await callAll(9)).toHaveLength(1);
});

const laws: Omit<QuotaWindow, "name">[] = [
  { limit: 3, windowMs: 60_000 },
  { limit: 3, windowMs: 7_200_000 },
  { limit: 3, windowMs: 60_000, kind: "fixed" },
  { limit: 3, windowMs: 60_000, kind: "bucket" },
  { limit: 3, windowMs: DAY, kind: "calendar", zone: "America/Los_Angeles" },
];
const ofTokens = laws.map((law) => ({ ...law, limit: 6_000, unit: "tokens" as const }));

test.each([...laws, ...ofTokens])(
  "the store's clock steps back an hour: what was counted counts one full window from then on, %j",
  async (law) => {
    store.set(Date.parse("2026-03-07T12:00:00Z"));
    await store.redis.flushall();
    const world = new World([aKeyGroup({ id: "g0", windows: [{ name: "w", ...law }] })]);
    await world.register();
    await world.room.admit(
      Array.from({ length: 12 }, () => anArrival({ freshnessSeconds: 0, capturedAtMs: store.nowMs() })),
    );
    const callAll = async () => {
      await world.register(); // its worker says again that it lives
      await store.redis.zadd("{vl}:free", 0, "g0");
      const { taken } = await world.quota.take(9);
      for (const lease of taken) await world.quota.spend(lease, "w:1", 5_000, false);
      return taken.length;
    };
    expect(await callAll()).toBe(3);
    store.set(store.nowMs() - 3_600_000);
    expect(await callAll()).toBe(0);
    store.set(store.nowMs() + law.windowMs * 0.3);
    expect(await callAll()).toBe(0);
    store.set(store.nowMs() + law.windowMs * 2.5);
    expect(await callAll()).toBe(3);
  },
);
