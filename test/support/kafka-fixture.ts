/** The topics' conformance fixture on a real Kafka broker of its own, started and stopped with the file's tests. */
import { pino } from "pino";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import type { TopicLogFixture } from "../conformance/topic-log-scene.ts";
import { startKafka } from "./kafka.ts";
import { openTopicLog, openTopicTools, type TopicLogSpec } from "./open-topic-log.ts";

/** To be called inside of a `describe`. `start`: someKafka for tests that never crash the store. */
export function kafkaFixture(start: () => Promise<LocalKafka> = startKafka): TopicLogFixture {
  const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await start();
  }, 120_000);
  afterAll(() => kafka.stop());

  const fixture: TopicLogFixture = {
    spec: (overrides = {}): TopicLogSpec => ({
      ...{ kind: "kafka", brokers: kafka.brokers, retentionMs: 3_600_000, maxBytesPerTopic: 2 ** 28, shards: 16 },
      ...overrides,
    }),
    async open(overrides) {
      const log = openTopicLog(fixture.spec(overrides), context);
      onTestFinished(() => log.stop());
      await log.start();
      return log;
    },
    async openTools() {
      const tools = await openTopicTools(fixture.spec(), context);
      onTestFinished(() => tools.stop());
      return tools;
    },
    create: () => openTopicLog(fixture.spec(), context),
    crashStore: async () => void (await kafka.nodes[0]?.kill("SIGKILL")),
    restoreStore: async () => void (await kafka.nodes[0]?.start()),
    restartMs: 15_000,
  };
  return fixture;
}
