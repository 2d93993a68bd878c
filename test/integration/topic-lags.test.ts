/** Lags as gateways read them: told from the topics' own contract, on Redis and on Kafka alike. */
import { expect, onTestFinished, test } from "vitest";
import { TopicLag } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { tellLags } from "../../src/roles/topic-lags.ts";
import { Settings } from "../../src/settings.ts";
import { connectStore } from "../../src/store.ts";
import { openTopicLog } from "../../src/topics/open-topic-log.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { brokerThere, someKafka } from "../support/kafka.ts";
import { silent, startPipeline } from "../support/pipeline.ts";
import { startRedis } from "../support/redis.ts";

const WAIT = { timeout: 3 * 10_000 };

async function lagIsTold(kafkaBrokers: string[]) {
  const store = await startRedis();
  const redis = await connectStore(store.url, silent);
  onTestFinished(() => void redis.disconnect());
  const mark = `${process.pid}-${Date.now()}`; // a broker that others use too has other topics and groups
  const topics = openTopicLog(Settings.parse({ kafkaBrokers, resultsTopic: `results-${mark}` }), store.url, silent);
  onTestFinished(() => topics.stop());
  await topics.start();
  const stop = new AbortController();
  await topics.ensureTopic(TOPICS.results);
  await topics.publish(
    TOPICS.results,
    ["a", "b", "c"].map((key) => ({ key, value: Buffer.from(key) })),
  );
  const group = `reads-${mark}`;
  const readers = [{ topic: TOPICS.results, group }];
  const told = async () => {
    const text = await redis.hget(KEYS.lags, `${group}.${TOPICS.results}`);
    return text === null ? null : TopicLag.parse(JSON.parse(text));
  };
  const telling = tellLags({ topics, redis, readers }, silent, stop.signal);
  await expect.poll(told, WAIT).toMatchObject({ topic: TOPICS.results, group, messages: 3, lost: 0 });
  expect((await told())?.oldestAgeMs).toBeGreaterThan(0);
  for await (const batch of topics.subscribe(TOPICS.results, { group, consumer: "c" }).batches()) {
    await batch.acknowledge();
    if ((await topics.lag(TOPICS.results, group)).messages === 0) break;
  }
  await expect.poll(told, WAIT).toMatchObject({ messages: 0, oldestAgeMs: 0 });
  stop.abort();
  await telling;
}

test("of topics in the store", () => lagIsTold([]));

test.skipIf(!brokerThere)("of topics on Kafka", { timeout: 120_000 }, async () => {
  const kafka = await someKafka();
  onTestFinished(() => kafka.stop());
  await lagIsTold(kafka.brokers);
});

test("a bridge tells those of its own group and of the results", async () => {
  const pipeline = await startPipeline({ settings: { bridgeGroup: "south" } });
  onTestFinished(() => pipeline.stop());
  const redis = await connectStore(pipeline.redis.url, silent);
  onTestFinished(() => void redis.disconnect());
  await expect
    .poll(async () => Object.keys(await redis.hgetall(KEYS.lags)).sort(), WAIT)
    .toEqual(["south.detection-results", "vigilane-results.risk-assessment-results"]);
});
