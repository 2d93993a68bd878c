/** The command as its users run it: real processes, the real roles, the report that it writes. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { pino } from "pino";
import { expect, test } from "vitest";
import { systemClock } from "../../src/context.ts";
import { RoleHealth } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import { connectStore } from "../../src/store.ts";
import { checkPortFree } from "../../src/supervisor/programs.ts";
import { RunFile } from "../../src/supervisor/run-file.ts";
import { folder, readReport, vigilane } from "../support/command.ts";
import { javaThere } from "../support/kafka.ts";

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Of everything that runs, by its heartbeats. */
async function pidsOf(redisUrl: string): Promise<number[]> {
  const redis = await connectStore(redisUrl, { clock: systemClock, log: pino({ level: "silent" }) });
  const heartbeats = Object.values(await redis.hgetall(KEYS.roles)).map((json) => RoleHealth.parse(JSON.parse(json)));
  redis.disconnect();
  return heartbeats.map(({ pid }) => pid);
}

test("up, load, started twice, stopped: everything is judged once, and nothing is left", async () => {
  const data = folder();
  const report = join(folder(), "report.json");
  const up = vigilane(["up", "--data", data, "--port", "0", "--roles", "store,provider,results,gateway,bridge,worker"]);
  const ready = await up.said(/^vigilane is ready: /);
  const [, url = "", token = ""] = /(http:\/\/127\.0\.0\.1:\d+)\/\?token=(\S+)$/.exec(ready) ?? [];
  expect(token).toBe(readFileSync(join(data, "token"), "utf8").trim());
  const run = RunFile.parse(JSON.parse(readFileSync(join(data, "run.json"), "utf8")));
  expect(run).toMatchObject({ pid: up.child.pid, gatewayUrl: url });
  for (const name of ["run.json", "token"]) expect(statSync(join(data, name)).mode & 0o077).toBe(0);
  expect((await fetch(`${url}/readyz`)).status).toBe(200);

  const second = vigilane(["up", "--data", data, "--port", "0"]);
  expect(await second.ended).toBe(1);
  expect(second.lines.join("\n")).toContain(`process ${up.child.pid}`);
  expect(second.lines.join("\n")).toContain("ALREADY_RUNNING");

  const load = vigilane(["load", "--data", data, "--cameras", "10", "--rate", "1", "--for", "8", "--report", report]);
  expect(await load.ended, load.lines.join("\n")).toBe(0);
  const found = readReport(report);
  expect(found.groups).toBeGreaterThan(40);
  expect(found).toMatchObject({ cameras: 10, lost: 0, duplicates: 0, restarts: 0, provider: { simulated: true } });
  expect(found.outcomes.assessed / found.groups).toBeGreaterThanOrEqual(0.99);
  expect(found.keyGroups.reduce((sum, group) => sum + group.calls, 0)).toBeGreaterThanOrEqual(found.outcomes.assessed);
  expect(found.keyGroups.reduce((sum, group) => sum + group.rejected429, 0)).toBe(0);
  for (const name of ["llm", "endToEnd", "overhead", "publishedToShown"] as const) {
    expect(found.latencyMs[name].p50, name).toBeGreaterThan(0);
  }
  for (const role of ["store", "provider", "results", "gateway", "bridge", "worker", "supervisor"]) {
    expect(found.rssMb[role], role).toBeGreaterThan(0);
  }

  const pids = await pidsOf(run.redisUrl);
  expect(pids.length).toBe(7); // the supervisor and six roles
  expect(pids.filter(alive)).toEqual(pids);

  const before = performance.now();
  up.child.kill("SIGTERM");
  expect(await up.ended).toBe(0);
  expect(performance.now() - before).toBeLessThan(10_000);
  expect(existsSync(join(data, "run.json"))).toBe(false);
  expect(pids.filter(alive)).toEqual([]);
});

test("kill -9 of the whole's supervisor takes every role, ffmpeg, redis-server and a local Kafka with it, and the next start finds all in order", {
  timeout: 240_000,
}, async () => {
  const data = folder();
  const report = join(folder(), "report.json");
  const args = ["up", "--data", data, "--port", "0", ...(javaThere ? ["--kafka", "local"] : [])];
  const up = vigilane(args);
  await up.said(/^vigilane is ready: /);
  await up.said(/state=online/);
  const run = RunFile.parse(JSON.parse(readFileSync(join(data, "run.json"), "utf8")));
  const redis = await connectStore(run.redisUrl, { clock: systemClock, log: pino({ level: "silent" }) });
  const topicsInStore = (await redis.keys("*")).filter((key) => key.includes("detection-results"));
  redis.disconnect();
  expect([run.kafkaBrokers.length, topicsInStore.length > 0]).toEqual(javaThere ? [1, false] : [0, true]);
  const roles = await pidsOf(run.redisUrl);
  const everything = [...roles, ...childrenOf(roles)];
  expect(everything.length).toBeGreaterThanOrEqual(8 + 4); // seven roles, the supervisor, an ffmpeg a camera
  if (javaThere) {
    const second = vigilane(["kafka-local", "--data", data]);
    expect([await second.ended, second.lines.join("\n")]).toEqual([1, expect.stringContaining("ALREADY_RUNNING")]);
  }
  const kafkaPorts = run.kafkaBrokers.map((broker) => Number(broker.split(":")[1]));
  up.child.kill("SIGKILL");
  while (everything.some(alive)) await wait(50);
  for (const port of kafkaPorts) {
    await expect.poll(() => isFree(port), { timeout: 3 * 5_000 }).toBe(true);
  }
  const patient = ["--freshness-seconds", "0"]; // on a busy machine too
  const again = vigilane([...args, "--for", "8", "--report", report, ...patient]);
  expect(await again.ended, again.lines.join("\n")).toBe(0);
  const found = readReport(report);
  expect(found).toMatchObject({ cameras: 4, lost: 0, duplicates: 0, restarts: 0 });
  expect(found.groups).toBeGreaterThan(10);
  expect(found.outcomes.assessed).toBe(found.groups);
  for (const port of kafkaPorts) expect(await isFree(port)).toBe(true);
});

const isFree = (port: number) =>
  checkPortFree(port, "127.0.0.1", "test").then(
    () => true,
    () => false,
  );

/** Direct children, without repeats, of any of these processes. */
function childrenOf(parents: readonly number[]): number[] {
  const { stdout } = spawnSync("ps", ["-eo", "pid=,ppid="], { encoding: "utf8" });
  const rows = stdout.split("\n").map((line) => line.trim().split(/\s+/).map(Number));
  return rows.flatMap(([pid = 0, parent = 0]) => (parents.includes(parent) && !parents.includes(pid) ? [pid] : []));
}

test("a role that cannot work is reported with its cause, and the command fails", async () => {
  const up = vigilane([
    "up",
    "--data",
    folder(),
    "--port",
    "0",
    "--roles",
    "store,bridge",
    "--keys",
    "/no/such/keys.yaml",
  ]);
  expect(await up.ended).toBe(2);
  expect(up.lines.join("\n")).toContain("/no/such/keys.yaml");
  const simulator = vigilane([
    "up",
    "--data",
    folder(),
    "--port",
    "0",
    "--roles",
    "store,provider",
    "--simulator",
    "/no/such.yaml",
  ]);
  expect(await simulator.ended).toBe(1);
  expect(simulator.lines.join("\n")).toMatch(
    /provider died 5 times.*exit code 2[\s\S]*no\/such\.yaml[\s\S]*ROLE_KEEPS_DYING/,
  );
});
