/** A writer of the outbox in a process of its own: moves what it finds to the topic until it is killed. */
import { pino } from "pino";
import { systemClock } from "../../src/context.ts";
import { connectStore } from "../../src/store.ts";
import { createKafkaOutboxTransfer } from "../../src/topics/kafka-outbox-transfer.ts";

export interface WriterOrder {
  redisUrl: string;
  brokers: string[];
  outboxKey: string;
  topic: string;
}

const { redisUrl, brokers, outboxKey, topic } = JSON.parse(process.argv[2] ?? "{}") as WriterOrder;
process.on("disconnect", () => process.exit(0));
const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };
const redis = await connectStore(redisUrl, context);
const transfer = createKafkaOutboxTransfer(
  redis,
  { brokers, outboxKey, positionTopic: topic, nameOf: String },
  context,
);
for (;;) {
  try {
    const found = await redis.xrange(outboxKey, "-", "+", "COUNT", 50);
    // Every third one is held back the first time that it is seen, as the bridge does with some.
    const entries = found
      .filter(([id]) => Number(id.split("-")[1]) % 3 !== 0 || Math.random() < 0.5)
      .map(([outboxId, [, n = ""]]) => ({
        outboxId,
        message: { key: `camera-${Number(n) % 7}`, value: Buffer.from(n) },
      }));
    const moved = entries.length > 0 ? await transfer.transfer(topic, entries) : 0;
    if (moved > 0) process.send?.({ moved });
    else await systemClock.sleep(5);
  } catch (error) {
    process.send?.({ failed: String(error) });
    await systemClock.sleep(50);
  }
}
