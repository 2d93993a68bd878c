/** The detector in the whole: killed it comes back, stopped and woken it goes on, and what the LLM does is nothing to it. On the demo footage. */
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CameraStatus, Detection } from "../../src/messages.ts";
import { KEYS } from "../../src/names.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { testFfmpeg, testFootage, testModel } from "../support/detector-assets.ts";
import { startWorld, type World } from "../support/world.ts";

const ROLES = "detector,bridge,worker,results,gateway";
/** Promised: 10 s. */
const RESUMES_WITHIN_MS = 30_000;

/** Longer than anything that the detector holds: its heartbeat counts for 3 s, a shard of a topic as long. */
const STOPPED_MS = 7_000;

let here: World;
beforeAll(async () => {
  await Promise.all([testFfmpeg(), testFootage(), testModel()]);
  here = await startWorld({ roles: ROLES });
  await here.nextResult();
}, 300_000);
afterAll(() => here?.stop());

async function expectEachOnce(ids: readonly string[]) {
  expect(ids.length).toBeGreaterThan(0);
  const { lost, doubled, results } = await here.settled(ids, 60_000);
  expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
  expect(results.filter((result) => result.outcome !== "assessed")).toEqual([]);
  expect(results).toHaveLength(new Set(ids).size);
}

test("kill -9 of the detector, twice: looks go on within 10 s, and every group is assessed exactly once", {
  timeout: 180_000,
}, async () => {
  const groups = collectGroups(here);
  for (let nth = 0; nth < 2; nth++) {
    const { pid } = await here.role("detector");
    const killedAtMs = Date.now();
    process.kill(pid, "SIGKILL");
    const back = await here.role("detector", pid);
    expect(back.pid).not.toBe(pid);
    await groups.capturedAfter(killedAtMs + 1);
    expect(Date.now() - killedAtMs).toBeLessThan(RESUMES_WITHIN_MS);
  }
  await expectEachOnce(groups.stop());
});

test("the detector stopped for longer than its locks, and woken, goes on itself: no message twice, no group lost or doubled", {
  timeout: 180_000,
}, async () => {
  const groups = collectGroups(here);
  const { pid } = await here.role("detector");
  process.kill(pid, "SIGSTOP");
  await wait(STOPPED_MS);
  process.kill(pid, "SIGCONT");
  const wokenAtMs = Date.now();
  await groups.capturedAfter(wokenAtMs + 1);
  expect(Date.now() - wokenAtMs).toBeLessThan(RESUMES_WITHIN_MS);
  expect((await here.role("detector")).pid).toBe(pid);
  const ids = groups.stop();
  expect(new Set(ids).size).toBe(ids.length);
  await expectEachOnce(ids);
  const counted = here.results().length;
  expect(await here.countedByResults(counted)).toBeGreaterThanOrEqual(counted);
});

test("a provider that hangs changes neither the rate of looks nor the previews", { timeout: 180_000 }, async () => {
  const before = await seenIn(here, 6_000);
  here.provider.setFaults({ hang: true });
  await here.provider.until(({ accounts }) => accounts.some((account) => account.inFlight > 3));
  const during = await seenIn(here, 6_000);
  here.provider.setFaults(null);
  expect(during.looks).toBeGreaterThan(0.7 * before.looks);
  expect(during.previews).toBeGreaterThan(0.7 * before.previews);
});

/** Looks of all cameras and previews of one within so many ms. */
async function seenIn(here: World, ms: number) {
  const looks = async () =>
    Object.values(await here.redis.hgetall(KEYS.cameras))
      .map((text) => CameraStatus.parse(JSON.parse(text)).frames.detected)
      .reduce((sum, n) => sum + n, 0);
  const [camera = ""] = await here.redis.hkeys(KEYS.cameras);
  const subscriber = here.redis.duplicate();
  let previews = 0;
  subscriber.on("message", () => {
    previews += 1;
  });
  await subscriber.subscribe(KEYS.preview(camera));
  const first = await looks();
  await wait(ms); // a rate is counted over time
  const last = await looks();
  subscriber.disconnect();
  return { looks: last - first, previews };
}

/** Task ids of every group in the detections topic from now on. */
function collectGroups(here: World) {
  const ids: string[] = [];
  const stopping = new AbortController();
  let newestMs = 0;
  const reading = (async () => {
    await here.topics.ensureTopic(TOPICS.detections);
    for await (const message of here.topics.tail(TOPICS.detections, "earliest", stopping.signal)) {
      const detection = Detection.parse(JSON.parse(message.value.toString()));
      newestMs = Math.max(newestMs, Date.parse(detection.capturedAt ?? detection.timestamp));
      ids.push(...detection.trafficGroups.map((group) => `${detection.messageId}_group${group.groupIndex}`));
    }
  })();
  return {
    async capturedAfter(atMs: number) {
      while (newestMs <= atMs) await wait(50); // polls what the topic's reader has seen
    },
    stop() {
      stopping.abort();
      reading.catch(() => {});
      return [...ids];
    },
  };
}
