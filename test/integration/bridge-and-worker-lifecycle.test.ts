import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Settings } from "../../src/config.ts";
import { createBridge } from "../../src/roles/bridge.ts";
import { createWorker } from "../../src/roles/worker.ts";
import { silent } from "../support/pipeline.ts";
import { startRedis } from "../support/redis.ts";
import { stressStartStop } from "../support/service-stress.ts";

const data = mkdtempSync(join(tmpdir(), "vigilane-lifecycle-"));
afterAll(() => rmSync(data, { recursive: true, force: true }));

test.each([
  ["bridge", createBridge],
  ["worker", createWorker],
])("the %s starts and stops safely: concurrently, twice, before its start, during it", async (_name, create) => {
  const { url } = await startRedis();
  const settings: Settings = { ...Settings.parse({}), data, redisUrl: url, simulatorUrl: "http://127.0.0.1:9" };
  await stressStartStop(() => create(settings, silent));
});

test("a start that fails leaves nothing running: a store that may evict is refused", async () => {
  const { url } = await startRedis({ args: ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"] });
  const bridge = createBridge(
    { ...Settings.parse({}), data, redisUrl: url, simulatorUrl: "http://127.0.0.1:9" },
    silent,
  );
  await expect(bridge.start()).rejects.toMatchObject({ code: "STORE_UNFIT" });
  await bridge.stop();
});
