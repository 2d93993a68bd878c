/** The supervisor over real processes: tiny roles, a real redis-server. */
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { loadSettings } from "../../src/config.ts";
import { systemClock } from "../../src/context.ts";
import type { VigilaneError } from "../../src/errors.ts";
import { RoleHealth } from "../../src/events.ts";
import { KEYS } from "../../src/names.ts";
import type { Role } from "../../src/settings.ts";
import { connectStore } from "../../src/store.ts";
import { createSupervisor, rolesFor, type SupervisorOptions } from "../../src/supervisor/supervisor.ts";
import { tinyLaunch } from "../support/tiny-launch.ts";

const context = { clock: systemClock, log: pino({ level: "silent" }) };
const THREE: Role[] = ["store", "bridge", "worker", "detector"];

afterEach(() => {
  delete process.env.TINY;
});

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "vigilane-supervisor-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A supervisor in this process, with what its roles wrote; `said(text)` resolves at the first line that holds it. */
function setup(options: Partial<SupervisorOptions> & { args?: string[]; tiny?: Record<string, string> } = {}) {
  process.env.TINY = JSON.stringify(options.tiny ?? {});
  const { settings } = loadSettings(["--data", folder(), "--port", "0", ...(options.args ?? [])], {
    PATH: process.env.PATH,
  });
  const lines: string[] = [];
  const spoken = new EventEmitter();
  const failed = Promise.withResolvers<VigilaneError>();
  const supervisor = createSupervisor(
    settings,
    {
      roles: THREE,
      launch: tinyLaunch,
      onLine: (_instance, role, line) => {
        if (role === "store") return;
        lines.push(line);
        spoken.emit("line");
      },
      onStep: () => {},
      onFailed: failed.resolve,
      ...options,
    },
    context,
  );
  onTestFinished(() => supervisor.stop());
  const said = async (text: string, times = 1) => {
    while (lines.filter((line) => line.includes(text)).length < times) await once(spoken, "line");
  };
  const pidOf = (what: string) => Number(lines.findLast((line) => line.startsWith(what))?.split(" ")[2]);
  return { supervisor, settings, lines, said, pidOf, failed: failed.promise };
}

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Resolves when the process is gone; the caller's time-out is the judge. */
async function gone(pid: number) {
  while (alive(pid)) await wait(20);
}

test("roles start in the order of the flow and stop in reverse, and none is left", async () => {
  const { supervisor, lines } = setup();
  await supervisor.start();
  expect(lines.map((line) => line.split(" ").slice(0, 2).join(" "))).toEqual([
    "born bridge",
    "born worker",
    "born detector",
  ]);
  const pids = lines.map((line) => Number(line.split(" ")[2]));
  await supervisor.stop();
  expect(lines.slice(3).map((line) => line.split(" ").slice(0, 2).join(" "))).toEqual([
    "ended detector",
    "ended worker",
    "ended bridge",
  ]);
  expect(pids.filter(alive)).toEqual([]);
});

test("a role killed with -9 is started again, counted, and its death is announced", async () => {
  const { supervisor, said, pidOf } = setup();
  await supervisor.start();
  const redis = await connectStore(supervisor.settings.redisUrl ?? "", context);
  const listener = await connectStore(supervisor.settings.redisUrl ?? "", context);
  onTestFinished(() => {
    redis.disconnect();
    listener.disconnect();
  });
  await listener.subscribe(KEYS.roleDied);
  const announced = once(listener, "message");
  const pid = pidOf("born worker");
  process.kill(pid, "SIGKILL");
  const [, message] = await announced;
  expect(JSON.parse(String(message))).toEqual({ role: "worker", instance: "worker-1", pid });
  await said("born worker", 2);
  expect(pidOf("born worker")).not.toBe(pid);
  expect(supervisor.restarts).toBe(1);
  expect(await redis.hget(KEYS.restarts, "worker")).toBe("1");
});

test("the store killed with -9 comes back on the same address with what it had acknowledged", async () => {
  const { supervisor } = setup();
  await supervisor.start();
  expect(supervisor.store).toMatchObject({ inMemory: false, fsync: "always" });
  const redis = await connectStore(supervisor.settings.redisUrl ?? "", context);
  onTestFinished(() => redis.disconnect());
  await redis.set("kept", "yes");
  const before = /process_id:(\d+)/.exec(await redis.info("server"))?.[1];
  process.kill(Number(before), "SIGKILL");
  expect(await redis.get("kept")).toBe("yes");
  expect(/process_id:(\d+)/.exec(await redis.info("server"))?.[1]).not.toBe(before);
  expect(await waitFor(() => redis.hget(KEYS.restarts, "store"))).toBe("1");
});

test("a store in memory that dies comes back empty, and every role starts anew on it", async () => {
  const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
  const { supervisor, said, lines, pidOf } = setup({
    args: ["--store", "wasm"],
    launch: (role, env) =>
      role === "store" ? { program: process.execPath, args: [main, role], env } : tinyLaunch(role, env),
  });
  await supervisor.start();
  expect(supervisor.store).toMatchObject({ inMemory: true });
  const redis = await connectStore(supervisor.settings.redisUrl ?? "", context);
  onTestFinished(() => redis.disconnect());
  const heartbeat = await waitFor(() => redis.hget(KEYS.roles, "store/store-1"));
  await redis.set("kept", "no");
  process.kill(RoleHealth.parse(JSON.parse(heartbeat)).pid, "SIGKILL");
  for (const role of ["bridge", "worker", "detector"]) await said(`born ${role}`, 2);
  expect(await redis.get("kept")).toBeNull();
  expect(await waitFor(() => redis.hget(KEYS.restarts, "store"))).toBe("1");
  expect(alive(pidOf("born worker"))).toBe(true);
  expect(lines.filter((line) => line.startsWith("born worker"))).toHaveLength(2);
});

/** The first answer that is none of null; the test's time-out is the judge. */
async function waitFor<T>(ask: () => Promise<T | null>): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    await wait(20);
  }
}

test("a role that dies at once again and again is given up, with its last lines, its cause and nothing left", async () => {
  const { supervisor, lines, failed } = setup({ tiny: { worker: "crash" } });
  const error = await supervisor.start().catch((e: unknown) => e);
  expect(error).toMatchObject({ code: "ROLE_KEEPS_DYING" });
  expect(String(error)).toContain("the reason is written on the wall");
  expect(String(error)).toContain("exit code 3");
  expect((await failed).code).toBe("ROLE_KEEPS_DYING");
  expect(lines.filter((line) => line.startsWith("born worker"))).toHaveLength(5);
  expect(lines.some((line) => line.startsWith("born detector"))).toBe(false);
  expect(
    lines
      .filter((line) => line.startsWith("born"))
      .map((line) => Number(line.split(" ")[2]))
      .filter(alive),
  ).toEqual([]);
});

test("a role that cannot even be started is given up too", async () => {
  const { supervisor } = setup({ launch: (_role, env) => ({ program: "/no/such/program", args: [], env }) });
  await expect(supervisor.start()).rejects.toMatchObject({ code: "ROLE_KEEPS_DYING" });
});

test("deaf roles are ended with force, and the whole stop takes less than 10 s", { timeout: 30_000 }, async () => {
  const { supervisor, pidOf } = setup({ tiny: { bridge: "deaf", worker: "deaf", detector: "deaf" } });
  await supervisor.start();
  const pids = ["bridge", "worker", "detector"].map((role) => pidOf(`born ${role}`));
  const before = performance.now();
  await supervisor.stop();
  expect(performance.now() - before).toBeLessThan(10_000);
  expect(pids.filter(alive)).toEqual([]);
});

test("what a killed role had started itself does not outlive it", async () => {
  const { supervisor, said, pidOf } = setup({ tiny: { detector: "parent" } });
  await supervisor.start();
  const grandchild = pidOf("grandchild detector");
  expect(alive(grandchild)).toBe(true);
  process.kill(pidOf("born detector"), "SIGKILL");
  await said("born detector", 2);
  await gone(grandchild);
});

test("a port in use is told before anything is started, with the setting's name", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  onTestFinished(() => void other.close());
  const address = other.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const { supervisor, lines } = setup({ args: ["--port", String(port)], roles: [...THREE, "gateway"] });
  await expect(supervisor.start()).rejects.toMatchObject({
    code: "PORT_IN_USE",
    message: expect.stringContaining("setting port"),
  });
  expect(lines).toEqual([]);
});

test("starts and stops at the same time, twice and before the start, end with nothing running", async () => {
  const { supervisor, lines } = setup();
  await supervisor.stop();
  const first = supervisor.start().catch((e: unknown) => e);
  const second = supervisor.start().catch((e: unknown) => e);
  await Promise.all([supervisor.stop(), supervisor.stop()]);
  expect(await first).toMatchObject({ code: "STOPPED" });
  expect(await second).toMatchObject({ code: "STOPPED" });
  await supervisor.start();
  await supervisor.stop();
  expect(
    lines
      .filter((line) => line.startsWith("born"))
      .map((line) => Number(line.split(" ")[2]))
      .filter(alive),
  ).toEqual([]);
});

/** A supervisor as a process of its own; `pids` grows with everything that it started. */
async function startApart(
  data: string,
  tiny: Record<string, string> = {},
  how: "directly" | "as npm does" = "directly",
) {
  const args = [fileURLToPath(new URL("../support/tiny-supervisor.ts", import.meta.url)), data, THREE.join(",")];
  const env = { ...process.env, TINY: JSON.stringify(tiny) };
  const stdio: StdioOptions = ["ignore", "pipe", "inherit"];
  const command = [process.execPath, ...args].map((part) => JSON.stringify(part)).join(" ");
  const child: ChildProcess =
    how === "directly"
      ? spawn(process.execPath, args, { env, stdio })
      : spawn("sh", ["-c", `${command}; true`], { env: { ...env, npm_lifecycle_event: "start" }, stdio });
  onTestFinished(() => void child.kill("SIGKILL"));
  const pids: number[] = [];
  const lines: string[] = [];
  const ready = Promise.withResolvers<string>();
  const exited = once(child, "exit");
  if (!child.stdout) throw new Error("no output");
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    const [what, ...rest] = line.split(" ");
    if (what === "born" || what === "grandchild") pids.push(Number(rest[1]));
    if (what === "ready") ready.resolve(rest[0] ?? "");
  });
  const redisUrl = await ready.promise;
  const redis = await connectStore(redisUrl, context, { retryStrategy: () => null });
  pids.push(Number(/process_id:(\d+)/.exec(await redis.info("server"))?.[1]));
  redis.disconnect();
  return { child, pids, lines, exited, redisUrl };
}

test("kill -9 of the supervisor leaves no process behind: no role, nothing of theirs, no redis-server", {
  timeout: 30_000,
}, async () => {
  const { child, pids } = await startApart(folder(), { detector: "parent", bridge: "deaf" });
  expect(pids.every(alive)).toBe(true);
  child.kill("SIGKILL");
  await Promise.all(pids.map(gone));
});

test("SIGTERM stops everything in order and leaves no process behind", async () => {
  const { child, pids, lines, exited } = await startApart(folder());
  child.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
  expect(lines.at(-1)).toBe("stopped");
  expect(pids.filter(alive)).toEqual([]);
});

test.skipIf(process.platform === "win32")(
  "started by npm, whose shell dies of a SIGTERM without passing it on, it stops all the same",
  async () => {
    const { child, pids, lines } = await startApart(folder(), {}, "as npm does");
    child.kill("SIGTERM");
    await once(child.stdout ?? child, "close"); // the supervisor held it, too
    expect(lines.slice(-1)).toEqual(["stopped"]);
    await Promise.all(pids.map(gone));
  },
);

test("a second Ctrl-C stops at once", async () => {
  const { child, pids, lines, exited } = await startApart(folder(), { worker: "deaf", detector: "deaf" });
  child.kill("SIGINT");
  while (!lines.includes("stopping")) await wait(5);
  await wait(300); // a person's second press, not the terminal's doubled first one
  const before = performance.now();
  child.kill("SIGINT");
  expect(await exited).toEqual([130, null]);
  expect(performance.now() - before).toBeLessThan(2_000);
  await Promise.all(pids.map(gone));
});

test("a store left behind by a killed supervisor and a killed leash is ended before the next one starts", {
  timeout: 30_000,
}, async () => {
  const data = folder();
  const first = await startApart(data);
  const store = first.pids.at(-1) ?? -1;
  for (const pid of leashesOf(first.child.pid ?? -1)) process.kill(pid, "SIGKILL");
  first.child.kill("SIGKILL");
  await Promise.all(first.pids.slice(0, -1).map(gone));
  expect(alive(store)).toBe(true);
  const second = await startApart(data);
  await gone(store); // never, if the second had not ended it
  expect(second.pids.at(-1)).not.toBe(store);
  second.child.kill("SIGTERM");
  await second.exited;
});

test("which roles are needed follows from the settings", () => {
  const settings = (...args: string[]) => loadSettings(args, {}).settings;
  expect(rolesFor(settings(), true)).toEqual([
    "store",
    "provider",
    "results",
    "gateway",
    "bridge",
    "worker",
    "detector",
  ]);
  expect(rolesFor(settings("--redis-url", "redis://h"), false)).toEqual([
    "results",
    "gateway",
    "bridge",
    "worker",
    "detector",
  ]);
  expect(rolesFor(settings("--roles", "worker,bridge", "--redis-url", "redis://h"), true)).toEqual([
    "bridge",
    "worker",
  ]);
  expect(() => rolesFor(settings("--roles", "worker"), true)).toThrow(/no store/);
});

/** Children of a process that run leash.ts. */
function leashesOf(parent: number): number[] {
  const { stdout } = spawnSync("ps", ["-eo", "pid=,ppid=,args="], { encoding: "utf8" });
  return stdout
    .split("\n")
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line))
    .filter((match) => match !== null && Number(match[2]) === parent && match[3]?.includes("leash") === true)
    .map((match) => Number(match?.[1]));
}
