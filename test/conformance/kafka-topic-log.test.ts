import { pino } from "pino";
import { afterAll, beforeAll, describe, onTestFinished } from "vitest";
import { systemClock } from "../../src/context.ts";
import type { LocalKafka } from "../../src/supervisor/local-kafka.ts";
import { javaThere, startKafka } from "../support/kafka.ts";
import { openTopicLog, type TopicLogSpec } from "../support/open-topic-log.ts";
import { topicLogConformance } from "./topic-log.suite.ts";
import { topicLogProcessConformance } from "./topic-log-processes.suite.ts";
import type { TopicLogFixture } from "./topic-log-scene.ts";

const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };

describe.skipIf(!javaThere)("the topics on a real Kafka broker", () => {
  let kafka: LocalKafka;
  beforeAll(async () => {
    kafka = await startKafka();
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
    create: () => openTopicLog(fixture.spec(), context),
    crashStore: async () => void (await kafka.nodes[0]?.kill("SIGKILL")),
    restoreStore: async () => void (await kafka.nodes[0]?.start()),
  };

  topicLogConformance("Kafka", fixture);
  topicLogProcessConformance("Kafka", fixture);
});
