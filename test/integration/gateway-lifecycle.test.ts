import { test } from "vitest";
import { createGatewayService } from "../../src/gateway/gateway.ts";
import { createResultsService } from "../../src/results/results.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { gatewayWorld, quiet, TOKEN } from "../support/gateway.ts";
import { stressStartStop } from "../support/service-stress.ts";

test("the gateway starts and stops in every order", async () => {
  const { store, waiting, images } = await gatewayWorld();
  await stressStartStop(() =>
    createGatewayService(
      {
        ...{ redisUrl: store.url, port: 0, host: "127.0.0.1", allowedHosts: [], token: TOKEN, askedRoles: [] },
        ...{ instance: "gateway-1", waiting: () => waiting, images, pageFolder: "/nowhere" },
      },
      quiet,
    ),
  );
});

test("the results role starts and stops in every order", async () => {
  const { store, images } = await gatewayWorld();
  const topics = { redisUrl: store.url, retentionMs: 60_000, maxBytesPerTopic: 1_000_000, shards: 2 };
  await stressStartStop(() =>
    createResultsService(
      {
        ...{ redisUrl: store.url, topics: createRedisTopicLog(topics, quiet), topicNames: [TOPICS.results] },
        ...{ consumer: "results-1", retentionMs: 60_000, images, imageLimits: { maxBytes: 1e6, maxAgeMs: 60_000 } },
        countTasks: () => () => waitingCounts,
      },
      quiet,
    ),
  );
});

const waitingCounts = Promise.resolve({ waiting: 0, moving: 0, calling: 0 });
