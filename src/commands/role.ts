/**
 * One role as a process: `vigilane <role>`, by hand or under the supervisor. Under a supervisor (an IPC channel) it says
 * when it is ready, and ends when the channel closes, so that nothing outlives a supervisor that was killed.
 */
import { rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { loadSettings } from "../config.ts";
import { type Context, createLogger, systemClock } from "../context.ts";
import { errorCode, explain, VigilaneError } from "../errors.ts";
import type { RoleHealth } from "../events.ts";
import { type Service, within } from "../lifecycle.ts";
import { KEYS } from "../names.ts";
import type { Role, Settings } from "../settings.ts";
import { connectStore } from "../store.ts";

/** What a role's wiring file gives: a service that may also say what it is busy with. */
export type RoleService = Service & { detail?(): string };
type CreateRole = (settings: Settings, context: Context) => RoleService;

/** Below the supervisor's own deadline, so that a role that is slow to stop still says what was slow. */
const STOP_DEADLINE_MS = 4_000;
const HEARTBEAT_MS = 1_000;

/** Each role's wiring, loaded only by the process that runs it. */
const WIRING: Record<Role, () => Promise<CreateRole>> = {
  store: async () => (await import("../roles/store.ts")).createStore,
  provider: async () => (await import("../roles/provider.ts")).createProvider,
  detector: async () => (await import("../roles/detector.ts")).createDetector,
  bridge: async () => (await import("../roles/bridge.ts")).createBridge,
  worker: async () => (await import("../roles/worker.ts")).createWorker,
  results: async () => (await import("../roles/results.ts")).createResults,
  gateway: async () => (await import("../roles/gateway.ts")).createGateway,
};

/** Runs until it is told to stop; resolves with the exit code. */
export async function runRole(role: Role, argv: readonly string[]): Promise<number> {
  const { settings } = loadSettings(argv);
  if (settings.redisUrl === undefined && role !== "store" && role !== "provider") {
    throw new VigilaneError("SETTINGS_INVALID", `the role ${role} by itself needs a store: REDIS_URL is not set`, {
      remedy: "Set REDIS_URL or --redis-url, or run everything with `vigilane up`.",
    });
  }
  return runProcess(role, settings, WIRING[role]);
}

/** The life of a role's process, whatever the role does. */
export async function runProcess(role: Role, settings: Settings, wiring: () => Promise<CreateRole>): Promise<number> {
  const instance = process.env.VIGILANE_INSTANCE ?? `${role}-${hostname()}-${process.pid}`;
  process.env.VIGILANE_INSTANCE = instance; // the role's wiring names its consumer by it
  const log = createLogger(role, settings.logLevel);
  const context: Context = { clock: systemClock, log };
  const stopAsked = new AbortController();
  const startedAtMs = context.clock.nowMs();
  const dieOf = (error: unknown): never => {
    log.fatal({ err: error, code: errorCode(error) }, explain(error));
    process.exit(errorCode(error) === "SETTINGS_INVALID" ? 2 : 1);
  };
  process.on("uncaughtException", dieOf);
  process.on("unhandledRejection", dieOf);
  const supervised = process.send !== undefined;
  process.on("SIGTERM", () => stopAsked.abort());
  process.on("SIGINT", () => (stopAsked.signal.aborted && !supervised ? process.exit(130) : stopAsked.abort()));
  process.on("disconnect", () => stopAsked.abort());
  const stopped = new Promise<void>((resolve) => stopAsked.signal.addEventListener("abort", () => resolve()));

  let service: RoleService;
  let outcome: "ready" | "stopped";
  try {
    service = (await wiring())(settings, context);
    const ready = service.start().then(() => "ready" as const);
    outcome = await Promise.race([ready, stopped.then(() => "stopped" as const)]);
  } catch (error) {
    return dieOf(error);
  }
  let beat: Promise<void> = Promise.resolve();
  if (outcome === "ready") {
    log[supervised ? "debug" : "info"]({ instance }, "ready");
    if (supervised && process.connected) process.send?.({ ready: true });
    const { signal } = stopAsked;
    beat = Promise.all([
      heartbeat(role, instance, startedAtMs, settings, service, context, signal),
      stayAlive(settings.aliveFile, context, signal),
    ]).then(() => {});
    await stopped;
  }
  return await finish(role, service, beat, context);
}

async function finish(role: Role, service: RoleService, beat: Promise<void>, context: Context): Promise<number> {
  const { log, clock } = context;
  try {
    await within(clock, STOP_DEADLINE_MS, `stop of ${role}`, async () => {
      await service.stop();
      await beat;
    });
    log.info("stopped");
    process.exitCode = 0;
  } catch (error) {
    log.error({ err: error }, "did not stop in time");
    process.exitCode = 1;
  }
  if (process.connected) process.disconnect();
  // A timer or socket that somebody forgot must not keep a stopped role alive.
  setTimeout(() => process.exit(), 500).unref();
  return Number(process.exitCode);
}

/** Touches the file each second until `signal` aborts, then takes it away. A file that cannot be written is said once. */
async function stayAlive(file: string | undefined, { clock, log }: Context, signal: AbortSignal): Promise<void> {
  if (file === undefined) return;
  for (let well = true; !signal.aborted; await clock.sleep(HEARTBEAT_MS, signal).catch(() => {})) {
    try {
      await writeFile(file, String(clock.nowMs()));
      well = true;
    } catch (error) {
      if (well) log.error({ err: error, file }, "the file that says that this role is alive cannot be written");
      well = false;
    }
  }
  await rm(file, { force: true }).catch(() => {});
}

/** Writes the role's RoleHealth once a second until `signal` aborts, then takes it away. */
async function heartbeat(
  role: Role,
  instance: string,
  startedAtMs: number,
  settings: Settings,
  service: RoleService,
  context: Context,
  signal: AbortSignal,
): Promise<void> {
  const { redisUrl } = settings;
  if (redisUrl === undefined) return;
  // Commands of an absent store must not pile up: a heartbeat that cannot be sent is dropped.
  const aborted = new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined)));
  const connected = connectStore(redisUrl, context, { maxRetriesPerRequest: 0, enableOfflineQueue: false });
  const redis = await Promise.race([connected, aborted]);
  if (!redis) return;
  const field = `${role}/${instance}`;
  while (!signal.aborted) {
    const health: RoleHealth = {
      role,
      instance,
      pid: process.pid,
      ready: true,
      detail: service.detail?.() ?? "",
      atMs: context.clock.nowMs(),
      startedAtMs,
      rssMb: Math.round(process.memoryUsage.rss() / 1024 ** 2),
    };
    await redis.hset(KEYS.roles, field, JSON.stringify(health)).catch(() => {});
    await context.clock.sleep(HEARTBEAT_MS, signal).catch(() => {});
  }
  await redis.hdel(KEYS.roles, field).catch(() => {});
  redis.disconnect();
}
