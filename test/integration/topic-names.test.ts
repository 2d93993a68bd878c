/** Topics under names of one's own: what is published by its name by design lies under the name on the wire. */
import { expect, onTestFinished, test } from "vitest";
import { Settings } from "../../src/settings.ts";
import { connectStore } from "../../src/store.ts";
import { openOutboxTransfer, openTopicLog } from "../../src/topics/open-topic-log.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { silent } from "../support/pipeline.ts";
import { startRedis } from "../support/redis.ts";

test("publishing, reading, lag and write-back in the store", async () => {
  const store = await startRedis();
  const settings = Settings.parse({ detectionsTopic: "detection-results-topic", resultsTopic: "results-topic" });
  const named = openTopicLog(settings, store.url, silent);
  const wire = createRedisTopicLog({ redisUrl: store.url, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 26 }, silent);
  onTestFinished(() => Promise.all([named.stop(), wire.stop()]).then(() => {}));
  await named.start();
  await wire.start();
  const valuesOf = async (topic: string, count: number) => {
    const enough = new AbortController();
    const values: string[] = [];
    for await (const { value } of wire.tail(topic, "earliest", enough.signal)) {
      if (values.push(String(value)) === count) enough.abort();
    }
    return values;
  };
  await named.publish(TOPICS.detections, [{ key: "1", value: Buffer.from("seen") }]);
  expect(await valuesOf("detection-results-topic", 1)).toEqual(["seen"]);
  expect(await named.lag(TOPICS.detections, "g")).toMatchObject({ messages: 1 });

  const redis = await connectStore(store.url, silent);
  onTestFinished(() => void redis.disconnect());
  const transfer = openOutboxTransfer(settings, redis, named, { outboxKey: "outbox", nameOf: String }, silent);
  const outboxId = (await redis.xadd("outbox", "*", "any", "thing")) ?? "";
  await transfer.transfer(TOPICS.results, [{ outboxId, message: { key: "1", value: Buffer.from("judged") } }]);
  expect(await valuesOf("results-topic", 1)).toEqual(["judged"]);
});
