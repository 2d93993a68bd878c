/** Publishes detection messages as fast as the brokers take them. Arguments: brokers, topic, how many. */
import { pino } from "pino";
import { systemClock } from "../../src/context.ts";
import { createKafkaTopicLog } from "../../src/topics/kafka-topic-log.ts";
import { detectionMessages } from "./detections.ts";

const [brokers = "", topic = "", total = "0"] = process.argv.slice(2);
const log = createKafkaTopicLog(
  { brokers: brokers.split(","), retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 30, shards: 16 },
  { clock: systemClock, log: pino({ level: "warn" }) },
);
await log.start();
const CHUNK = 500;
const GROUP_EVERY = 100;
for (let from = 0; from < Number(total); from += CHUNK) {
  const parts = Array.from({ length: CHUNK / GROUP_EVERY }, (_, n) => {
    const at = from + n * GROUP_EVERY;
    return [
      ...detectionMessages(1, { groups: 1, from: at }),
      ...detectionMessages(GROUP_EVERY - 1, { groups: 0, from: at + 1 }),
    ];
  });
  const frames = parts.flat();
  await log.publish(topic, frames.slice(0, Number(total) - from));
}
await log.stop();
process.disconnect?.();
