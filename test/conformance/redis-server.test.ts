import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { startRedis } from "../support/redis.ts";

test("the test server keeps what it acknowledged over kill -9 and restart, on the same address", async () => {
  const server = await startRedis();
  const client = new Redis(server.url, { maxRetriesPerRequest: null });
  client.on("error", () => {});
  await client.set("a", "1");
  const pid = server.pid;
  await server.kill("SIGKILL");
  await server.restart();
  expect(server.pid).not.toBe(pid);
  expect(await client.get("a")).toBe("1");
  client.disconnect();
});
