/** Whatever older producers send: bridge, worker and results give one result for each entry of trafficGroups. */
import { expect, onTestFinished, test } from "vitest";
import { CameraRisk } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { createResults } from "../../src/roles/results.ts";
import { connectStore } from "../../src/store.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { expectOlderResults, type SeenResult } from "../support/expect-older-results.ts";
import { olderDetection, pythonJson } from "../support/older-messages.ts";
import { olderVariants } from "../support/older-variants.ts";
import { type Pipeline, silent, startPipeline } from "../support/pipeline.ts";

/** Every message of the results topic so far, as it lies there. */
async function seenResults({ topics }: Pipeline, count: number): Promise<SeenResult[]> {
  const ended = new AbortController();
  const seen: SeenResult[] = [];
  for await (const { key, value } of topics.tail(TOPICS.results, "earliest", ended.signal))
    if (seen.push({ key, value: JSON.parse(value.toString()) as SeenResult["value"] }) === count) break;
  ended.abort();
  return seen;
}

test("every variant of the older producers gives one result for each entry of trafficGroups", async () => {
  const world = await startPipeline({ settings: { freshnessSeconds: 0 } });
  onTestFinished(() => world.stop());
  const results = createResults(world.settings, silent);
  onTestFinished(() => results.stop());
  await results.start();
  const variants = olderVariants(0);
  expect([variants.length > 20, variants[0]?.cameraId]).toEqual([true, 0]);
  await world.publish(variants.map(({ cameraId, text }) => ({ key: String(cameraId), value: Buffer.from(text) })));
  const wanted = variants.flatMap(({ ends }) => ends).length;
  await expect.poll(() => world.results.length, { timeout: 30_000 }).toBeGreaterThanOrEqual(wanted);
  // Once more all of it: known by message id (the one without is another message then, and stays away).
  const named = variants.filter(({ messageId }) => messageId !== null);
  await world.publish(named.map(({ cameraId, text }) => ({ key: String(cameraId), value: Buffer.from(text) })));
  for (const { cameraId } of named.slice(0, 16)) {
    const last = olderDetection({ cameraId, messageId: `last-${cameraId}` });
    await world.publish([{ key: String(cameraId), value: Buffer.from(pythonJson(last)) }]);
  }
  const lasts = named.slice(0, 16).flatMap(({ cameraId }) => [1, 2].map((i) => `last-${cameraId}_group${i}`));
  await world.outcomes(lasts);
  const seen = await seenResults(world, wanted + lasts.length);
  expect(world.results).toHaveLength(wanted + lasts.length);
  expectOlderResults(
    variants,
    seen.filter(({ value }) => !lasts.includes(String(value.taskId))),
  );

  // And the results role has taken every one in.
  const redis = await connectStore(world.redis.url, silent);
  onTestFinished(() => redis.disconnect());
  const counted = async () => {
    const risks = await redis.hvals(KEYS.risks);
    const counts = risks.flatMap((json) => Object.values(CameraRisk.parse(JSON.parse(json)).counts));
    return counts.reduce((sum, count) => sum + count, 0);
  };
  await expect.poll(counted, { timeout: 20_000 }).toBe(wanted + lasts.length);
  expect(results.detail()).toBe(`${wanted + lasts.length} results, 0 twice, 0 dead letters`);
});
