import { pino } from "pino";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { systemClock } from "../../src/context.ts";
import { openTopicLog, openTopicTools, type TopicLogSpec } from "../support/open-topic-log.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { topicLogConformance } from "./topic-log.suite.ts";
import { topicLogProcessConformance } from "./topic-log-processes.suite.ts";
import type { TopicLogFixture } from "./topic-log-scene.ts";
import { topicPeopleConformance } from "./topic-people.suite.ts";
import { topicToolsConformance } from "./topic-tools.suite.ts";

const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };
let server: TestRedis;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const fixture: TopicLogFixture = {
  spec: (overrides = {}): TopicLogSpec => ({
    ...{ kind: "redis", redisUrl: server.url, retentionMs: 3_600_000, maxBytesPerTopic: 256 * 1024 * 1024, shards: 16 },
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
  restartMs: 5_000,
  crashStore: () => server.kill("SIGKILL"),
  restoreStore: () => server.restart(),
};

topicLogConformance("Redis", fixture);
topicToolsConformance("Redis", fixture);
topicPeopleConformance("Redis", fixture);
topicLogProcessConformance("Redis", fixture);
