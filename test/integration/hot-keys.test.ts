/** The keys' file is edited while bridge and worker run: changes are taken over whole or not at all, and no group is lost or doubled. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { newIdentityFile, seal } from "../../src/keys/sealed-file.ts";
import { replaceFile } from "../../src/keys/write-keys.ts";
import { createQuota } from "../../src/queues/redis-quota.ts";
import { type Pipeline, startPipeline } from "../support/pipeline.ts";

/** The promise: two seconds. */
const IN_EFFECT_MS = 3 * 2_000;
/** Small enough that a machine busy with other tests starts every call before its lease lapses. */
const PER_SECOND = 8;
const OFFERED_PER_SECOND = process.env.VIGILANE_LONG === "1" ? 20 : 12;

interface Group {
  id: string;
  secret?: string;
  enabled?: boolean;
  perSecond?: number;
  model?: string;
}

const text = (groups: readonly Group[]) => `# who judges
keyGroups:
${groups
  .map(
    ({ id, secret = `sim-${id}`, enabled = true, perSecond = PER_SECOND, model = "simulated-vision" }) => `  - id: ${id}
    provider: simulated
    model: ${model}
    windows: { requestsPerSecond: ${perSecond} }
    keys: [{ id: key, secret: ${secret}, enabled: ${enabled} }]
`,
  )
  .join("")}`;

async function setUp(groups: readonly Group[], secrets: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-hot-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "config"));
  const keys = join(folder, "config", "keys.yaml");
  writeFileSync(keys, text(groups));
  const world = await startPipeline({
    simulator: { mode: "countOnly", accounts: secrets.map((secret) => ({ id: secret, keys: [secret] })) },
    settings: { keys, freshnessSeconds: 0 },
  });
  onTestFinished(() => world.stop());
  const redis = new Redis(world.redis.url);
  onTestFinished(() => redis.disconnect());
  return { world, keys, redis };
}

/** Resolves when `check` does so without failing; fails with its last failure after the promise's time. */
async function soon(check: () => Promise<void> | void): Promise<void> {
  const until = performance.now() + IN_EFFECT_MS;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > until) throw error;
      await wait(50); // looks at the store's state, which nothing announces
    }
  }
}

/** Of the groups that may get calls; a removed one stays listed for a while, until its queue is empty. */
const statesOf = async (redis: Redis) =>
  Object.fromEntries(
    (await createQuota(redis, systemClock).snapshot())
      .filter(({ state }) => state !== "removed")
      .map(({ id, state }) => [id, state]),
  );

/** Offers single groups at this pace until the returned function is called, which resolves with their ids. */
function offering(world: Pipeline, perSecond: number) {
  const ids: Promise<string[]>[] = [];
  const stop = new AbortController();
  const running = (async () => {
    while (!stop.signal.aborted) {
      ids.push(world.offer(1));
      await wait(1_000 / perSecond, undefined, { signal: stop.signal }).catch(() => {}); // the pace of the offer
    }
  })();
  return async () => {
    stop.abort();
    await running;
    return (await Promise.all(ids)).flat();
  };
}

const callsOf = (world: Pipeline, account: string) =>
  world.provider.stats().accounts.find(({ id }) => id === account)?.calls ?? 0;

test("under load a group is added, one disabled, one removed, one renamed: every group assessed exactly once", async () => {
  const before: Group[] = ["stays", "off", "goes", "old-name"].map((id) => ({ id }));
  const { world, keys, redis } = await setUp(before, ["sim-stays", "sim-off", "sim-goes", "sim-old-name", "sim-new"]);
  const end = offering(world, OFFERED_PER_SECOND);
  await world.provider.until(({ accounts }) => accounts.filter(({ calls }) => calls > 3).length >= 4);

  const after: Group[] = [
    { id: "stays" },
    { id: "off", enabled: false },
    { id: "new-name", secret: "sim-old-name" },
    { id: "new" },
  ];
  writeFileSync(keys, text(after));
  await soon(async () =>
    expect(await statesOf(redis)).toEqual({
      stays: expect.stringMatching(/available|in_use/),
      off: "disabled",
      "new-name": expect.stringMatching(/available|in_use/),
      new: expect.stringMatching(/available|in_use/),
    }),
  );
  // A call that was under way at that moment may still end; none begins after it.
  await world.provider.until(({ accounts }) =>
    accounts.every(({ id, inFlight }) => !["sim-off", "sim-goes"].includes(id) || inFlight === 0),
  );
  const ended = ["sim-off", "sim-goes"].map((id) => callsOf(world, id));
  const begun = callsOf(world, "sim-new");
  const renamed = callsOf(world, "sim-old-name");
  await world.provider.until(
    () => callsOf(world, "sim-new") > begun + 5 && callsOf(world, "sim-old-name") > renamed + 5,
  );
  expect(["sim-off", "sim-goes"].map((id) => callsOf(world, id))).toEqual(ended);
  const ids = await end();
  const found = await world.outcomes(ids, 20_000);
  expect(ids.length).toBeGreaterThan(20);
  expect(ids.filter((id) => found.get(id)?.length !== 1)).toEqual([]);
  expect([...found.values()].flat().map(({ outcome }) => outcome)).toEqual(ids.map(() => "assessed"));
  // The renamed group's calls stand in the window that they always stood in.
  expect(await redis.hget("{vl}:group:new-name", "account")).toBe("old-name");
});

test("what was on its way to a group that is removed goes back at once, with its places", async () => {
  const { world, keys, redis } = await setUp([{ id: "slow", perSecond: 5 }], ["sim-slow", "sim-other"]);
  await world.worker.stop(); // so that what is taken stays on its way
  const quota = createQuota(redis, systemClock);
  await quota.hold([{ keyGroup: "slow", keyId: "key" }], 60_000);
  const ids = await world.offer(3);
  await soon(async () => expect(await redis.zcard("{vl}:leases")).toBeGreaterThan(0));
  writeFileSync(keys, text([{ id: "other" }]));
  await soon(async () => expect(Object.keys(await statesOf(redis))).toEqual(["other"]));
  expect(await redis.zcard("{vl}:leases")).toBe(0);
  expect(await redis.zcard("{vl}:window:slow:requests:sliding:1000")).toBe(0);
  expect(await redis.zcard("{vl}:wait")).toBe(3);
  await world.worker.start();
  const found = await world.outcomes(ids);
  expect([...found.values()].map((results) => results.map(({ metadata }) => metadata.keyGroup))).toEqual([
    ["other"],
    ["other"],
    ["other"],
  ]);
});

test("a broken edit is refused whole and said; the earlier keys stay in use; the mended one is taken, also by rename", async () => {
  const { world, keys, redis } = await setUp([{ id: "one" }], ["sim-one", "sim-two"]);
  const detail = (role: unknown) => (role as { detail(): string }).detail();
  writeFileSync(keys, `${text([{ id: "one" }, { id: "two" }])}    wight: 3\n`);
  await soon(() => {
    for (const role of [world.bridge, world.worker])
      expect(detail(role)).toMatch(/keys\.yaml:13:5: keyGroups\.1: there is no field "wight" here/);
  });
  expect(Object.keys(await statesOf(redis))).toEqual(["one"]);
  await world.outcomes(await world.offer(2));

  writeFileSync(`${keys}.new`, text([{ id: "two" }]));
  renameSync(`${keys}.new`, keys);
  await soon(async () => {
    expect(await statesOf(redis)).toEqual({ two: "available" });
    for (const role of [world.bridge, world.worker]) expect(detail(role)).not.toMatch(/keys\.yaml/);
  });
  const found = await world.outcomes(await world.offer(2));
  expect([...found.values()].flat().map(({ metadata }) => metadata.keyGroup)).toEqual(["two", "two"]);

  rmSync(keys);
  await soon(() => expect(detail(world.worker)).toMatch(/keys\.yaml cannot be read \(ENOENT\)/));
  await world.outcomes(await world.offer(1));
});

test("a key that its provider had refused is tried at once with its new secret", async () => {
  const { world, keys, redis } = await setUp([{ id: "one", secret: "sim-wrong" }], ["sim-one"]);
  const ids = await world.offer(1);
  await soon(async () => expect(await statesOf(redis)).toEqual({ one: "disabled" }));
  writeFileSync(keys, text([{ id: "one" }]));
  const found = await world.outcomes(ids, IN_EFFECT_MS);
  expect([...found.values()].flat().map(({ outcome }) => outcome)).toEqual(["assessed"]);
});

test("a known secret is not sent to another address: the edit is refused", async () => {
  const { world, keys, redis } = await setUp([{ id: "one" }], ["sim-one"]);
  const { origin } = new URL(world.provider.url);
  const real = (baseUrl: string) =>
    text([{ id: "one" }]).replace("provider: simulated", `provider: custom\n    baseUrl: ${baseUrl}`);
  writeFileSync(keys, real(`${origin}/v1`));
  await soon(async () => {
    const event = (await createQuota(redis, systemClock).snapshot())[0];
    expect(event).toMatchObject({ id: "one", provider: "custom" });
  });
  await world.outcomes(await world.offer(1));
  writeFileSync(keys, real("http://elsewhere.example/v1"));
  await soon(() =>
    expect((world.worker as unknown as { detail(): string }).detail()).toMatch(
      /the secret of key key was entered for this machine and is not sent to http:\/\/elsewhere\.example/,
    ),
  );
  await world.outcomes(await world.offer(1)); // still where it was
});

test("the file is encrypted while it runs, and edited in that form", async () => {
  const { world, keys, redis } = await setUp([{ id: "one" }], ["sim-one", "sim-two"]);
  const identity = /^AGE-SECRET-KEY-.*$/m.exec(await newIdentityFile(0))?.[0] ?? "";
  process.env.VIGILANE_AGE_IDENTITY = identity;
  onTestFinished(() => void delete process.env.VIGILANE_AGE_IDENTITY);
  const opener = { identities: [identity], passphrase: undefined, identityFile: undefined };
  replaceFile(`${keys}.age`, await seal(text([{ id: "one" }]), opener));
  rmSync(keys);
  await world.outcomes(await world.offer(1));
  replaceFile(`${keys}.age`, await seal(text([{ id: "two" }]), opener));
  await soon(async () => expect(await statesOf(redis)).toEqual({ two: "available" }));
  const found = await world.outcomes(await world.offer(1));
  expect([...found.values()].flat().map(({ metadata }) => metadata.keyGroup)).toEqual(["two"]);
});
