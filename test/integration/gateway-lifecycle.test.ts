import { io } from "socket.io-client";
import { expect, onTestFinished, test } from "vitest";
import { createGatewayService } from "../../src/gateway/gateway.ts";
import type { Service } from "../../src/lifecycle.ts";
import { createResultsService } from "../../src/results/results.ts";
import { createRedisTopicLog } from "../../src/topics/redis-topic-log.ts";
import { TOPICS } from "../../src/topics/topic-log.ts";
import { gatewayWorld, quiet, TOKEN } from "../support/gateway.ts";
import { connectionsTo, failToStart, stressAndLeaveNothing } from "../support/service-stress.ts";

type World = Awaited<ReturnType<typeof gatewayWorld>>;

const gatewayOf = ({ store, waiting, images }: World, port = 0) =>
  createGatewayService(
    {
      ...{ redisUrl: store.url, port, host: "127.0.0.1", allowedHosts: [], token: TOKEN, askedRoles: [] },
      ...{
        instance: "gateway-1",
        waiting: () => waiting,
        images,
        version: "0",
        frameIntervalMs: 1_000,
        pageFolder: "/nowhere",
      },
    },
    quiet,
  );

const resultsOf = ({ store, images }: World, topicNames: string[] = [TOPICS.results]) => {
  const topics = { redisUrl: store.url, retentionMs: 60_000, maxBytesPerTopic: 1_000_000, shards: 2 };
  return createResultsService(
    {
      ...{ redisUrl: store.url, topics: createRedisTopicLog(topics, quiet), topicNames },
      ...{
        group: "vigilane-results",
        consumer: "results-1",
        retentionMs: 60_000,
        images,
        imageLimits: { maxBytes: 1e6, maxAgeMs: 60_000 },
      },
      countTasks: () => async () => ({ waiting: 0, moving: 0, calling: 0 }),
    },
    quiet,
  );
};

const SERVICES: [string, (world: World) => Service][] = [
  ["gateway", (world) => gatewayOf(world)],
  ["results", (world) => resultsOf(world)],
];

test.each(SERVICES)("%s starts and stops in every order", async (_name, create) => {
  const world = await gatewayWorld();
  await stressAndLeaveNothing(
    () => create(world),
    () => connectionsTo(world.store.url),
  );
});

test("a gateway whose port is taken says so, and leaves nothing", async () => {
  const world = await gatewayWorld();
  const first = gatewayOf(world);
  onTestFinished(() => first.stop());
  await first.start();
  const port = Number(new URL(first.url()).port);
  await failToStart(
    () => gatewayOf(world, port),
    { code: "PORT_IN_USE" },
    () => connectionsTo(world.store.url),
  );
});

test("a results role that gets stuck at its second topic leaves nothing of the first", async () => {
  const world = await gatewayWorld();
  await world.redis.set("vl:topic:broken:meta", "of the wrong kind");
  await failToStart(
    () => resultsOf(world, [TOPICS.results, "broken"]),
    { message: expect.stringContaining("WRONGTYPE") },
    () => connectionsTo(world.store.url),
  );
});

test.each(
  SERVICES.flatMap(([name, create]) => (["SIGKILL", "SIGSTOP"] as const).map((how) => ({ name, create, how }))),
)("$name stops while the store is away ($how)", async ({ create, how }) => {
  const world = await gatewayWorld();
  const service = create(world);
  onTestFinished(() => service.stop());
  await service.start();
  await world.store.kill(how);
  const beganAt = performance.now();
  await service.stop();
  expect(performance.now() - beganAt).toBeLessThan(7_000); // the deadline that a role has
});

test("a client that leaves while the store is away, and a stop after it, reject nothing", async () => {
  const world = await gatewayWorld();
  const service = gatewayOf(world);
  onTestFinished(() => service.stop());
  await service.start();
  const client = io(service.url(), { transports: ["websocket"] });
  await new Promise((resolve) => client.once("connect", () => resolve(undefined)));
  await world.store.kill("SIGKILL");
  client.disconnect();
  await service.stop(); // an unhandled rejection would fail this run
});
