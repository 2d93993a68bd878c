/** What a key group learns from refusals, in real processes' parts: who rests for how long, while the tasks are judged elsewhere. */
import { Redis } from "ioredis";
import { afterEach, expect, test } from "vitest";
import { type Pipeline, startPipeline } from "../support/pipeline.ts";

let world: Pipeline;
let redis: Redis;
afterEach(async () => {
  redis?.disconnect();
  await world?.stop();
});

/** Ms that a field of a group's record lies ahead on the store's clock; below 0: it does not. */
async function leftMs(group: string, field: string): Promise<number> {
  const [until, [seconds, micros]] = await Promise.all([redis.hget(`{vl}:group:${group}`, field), redis.time()]);
  return Number(until ?? 0) - (Number(seconds) * 1_000 + Number(micros) / 1_000);
}

/** Offers groups of new scenes, a few at a time, until it is so; every one of them is judged. */
async function offerUntil(fulfilled: () => Promise<boolean>) {
  for (let i = 0; !(await fulfilled()); i += 1) {
    expect(i).toBeLessThan(60);
    const ids = await world.offer(3, { cameraId: `cam-${i}` });
    const found = await world.outcomes(ids);
    expect([...found.values()].map(([result]) => result?.outcome)).toEqual(ids.map(() => "assessed"));
  }
}

test("a told wait is kept exactly, trouble stretches the rest, a model that is denied costs the key alone", async () => {
  // A task may meet all three groups in a row.
  const settings = { freshnessSeconds: 0, maxAttempts: 10 };
  world = await startPipeline({ simulator: { retryAfter: true }, settings });
  redis = new Redis(world.redis.url);
  world.provider.setFaults({ refuse: "minute" }, "simulated-01");
  world.provider.setFaults({ refuse: "server" }, "simulated-02");
  world.provider.setFaults({ refuse: "model" }, "simulated-03");

  // Retry-After: 23, whatever the table or chance would have said.
  await offerUntil(async () => (await leftMs("simulated-01", "coolUntil")) > 20_000);
  expect(await leftMs("simulated-01", "coolUntil")).toBeLessThanOrEqual(23_000);

  // The first failure costs a second; with the next ones a share of its calls fails that is no accident.
  await offerUntil(async () => (await leftMs("simulated-02", "coolUntil")) > 5_000);
  expect(await leftMs("simulated-02", "coolUntil")).toBeLessThanOrEqual(120_000);

  await offerUntil(async () => (await redis.hget("{vl}:group:simulated-03", "off:key-03")) === "refused");
  expect(await leftMs("simulated-03", "coolUntil")).toBeLessThan(0);
  const [told, trouble, denied] = await Promise.all(
    ["simulated-01", "simulated-02", "simulated-03"].map((group) => redis.hgetall(`{vl}:group:${group}`)),
  );
  expect(told).toHaveProperty("fail:RATE_LIMITED");
  expect(trouble).toHaveProperty("fail:PROVIDER_FAILED");
  expect(denied).toHaveProperty("fail:MODEL_REFUSED");
  expect(told).toHaveProperty("refused:RATE_LIMITED:rate_minute", told?.["fail:RATE_LIMITED"]);
  expect(trouble).toHaveProperty("refused:PROVIDER_FAILED:server", trouble?.["fail:PROVIDER_FAILED"]);
  // What was full or is out of use is kept with it, and when it will end.
  expect(told).toMatchObject({ cause: "RATE_LIMITED", cools: "requestsPerMinute" });
  expect(trouble).toMatchObject({ cause: "PROVIDER_FAILED", cools: "group" });
  expect(denied).toMatchObject({ "cause:key-03": "MODEL_REFUSED", "cools:key-03": "key" });
});

test("a task that every group refuses fails after three calls, not before and not later", async () => {
  world = await startPipeline({ settings: { freshnessSeconds: 0 } });
  redis = new Redis(world.redis.url);
  world.provider.setFaults({ refuse: "server" });
  const ids = await world.offer(1);
  const [result] = (await world.outcomes(ids, 30_000)).get(ids[0] ?? "") ?? [];
  expect(result).toMatchObject({
    outcome: "failed",
    error: { code: "ATTEMPTS_EXHAUSTED" },
    metadata: { attempts: 3 },
  });
  const { accounts } = world.provider.stats();
  expect(accounts.reduce((sum, { calls }) => sum + calls, 0)).toBe(3);
  // Each at another group: the one that failed was left alone.
  expect(accounts.map(({ calls }) => calls).toSorted()).toEqual([0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
});
