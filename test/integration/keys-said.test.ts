/** What is to be known of the keys is said by a role by itself, and by none again under `up`; and when it comes to be so. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { createLogger, systemClock } from "../../src/context.ts";
import { createBridge } from "../../src/roles/bridge.ts";
import { Settings } from "../../src/settings.ts";
import { startRedis } from "../support/redis.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

function folderOfTest(): string {
  const folder = mkdtempSync(join(tmpdir(), "vigilane-keys-said-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test.each([
  ["bridge", {}, 40],
  ["worker", {}, 40],
  ["bridge", { VIGILANE_ASKED_ROLES: "bridge,worker" }, 20],
  ["worker", { VIGILANE_ASKED_ROLES: "bridge,worker" }, 20],
])("%s with %j warns of few keys at level %i", async (role, env, level) => {
  const folder = folderOfTest();
  const keys = join(folder, "api_keys.yaml");
  writeFileSync(keys, "keys: [{ id: a, api_key: sk-planted-0123456789, priority: 1 }]\n");
  const child = spawn(
    process.execPath,
    [MAIN, role, "--keys", keys, "--data", join(folder, "data"), "--log-level", "debug"],
    {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, REDIS_URL: "redis://127.0.0.1:1", ...env },
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  const ended = new Promise((resolve) => child.on("close", resolve));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const levels: number[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    expect(line).not.toContain("planted");
    const said = JSON.parse(line);
    if (!String(said.msg).startsWith("Only 1 usable key")) continue;
    levels.push(said.level);
    break;
  }
  expect(levels).toEqual([level]);
});

test("a changed file whose quota is too small for the cameras is said when it is in use", async () => {
  const folder = folderOfTest();
  const store = await startRedis();
  onTestFinished(() => store.stop());
  const keys = join(folder, "keys.yaml");
  const write = (perSecond: number) =>
    writeFileSync(
      keys,
      `keyGroups: [{ id: one, provider: simulated, windows: { requestsPerSecond: ${perSecond} }, keys: [{ id: k, secret: sim-one }] }]\n`,
    );
  write(8);
  const cameras = join(folder, "cameras.yaml");
  writeFileSync(cameras, "cameras: [{ id: a, source: a.mp4, frameIntervalMs: 500 }, { id: b, source: b.mp4 }]\n");
  const lines: string[] = [];
  let heard = () => {};
  const log = createLogger("bridge", "info", {
    write: (line: string) => {
      lines.push(String(JSON.parse(line).msg));
      heard();
    },
  });
  const settings: Settings = {
    ...Settings.parse({ frameIntervalMs: 1_000 }),
    ...{ data: join(folder, "data"), redisUrl: store.url, simulatorUrl: "http://127.0.0.1:1", keys, cameras },
  };
  const bridge = createBridge(settings, { clock: systemClock, log });
  onTestFinished(() => bridge.stop());
  await bridge.start();
  const quota = () => lines.filter((msg) => msg.startsWith("The quota cannot carry this"));
  const inUse = () => lines.filter((msg) => msg.includes("keys' file is in use")).length;
  const change = async (perSecond: number) => {
    const before = inUse();
    write(perSecond);
    while (inUse() === before) await new Promise<void>((resolve) => (heard = resolve));
  };
  expect(quota()).toEqual([]);
  await change(2);
  expect(quota()).toEqual([
    expect.stringMatching(/3\.0 groups a second are offered \(2 cameras, .*1 key group allow 2\.0 calls a second/),
  ]);
  await change(3);
  expect(quota()).toHaveLength(1);
  await change(2);
  expect(quota()).toHaveLength(2);
});
