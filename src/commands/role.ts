/**
 * One role as a process: `vigilane <role>`, by hand or under the supervisor. Under a supervisor (an IPC channel) it says
 * when it is ready, and ends when the channel closes, so that nothing outlives a supervisor that was killed.
 */
import { rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { loadSettings } from "../config.ts";
import { type Context, createLogger, systemClock } from "../context.ts";
import { errorCode, explain, VigilaneError } from "../errors.ts";
import { within } from "../lifecycle.ts";
import { imagePlace } from "../roles/open-image-store.ts";
import type { RoleService } from "../roles/role-service.ts";
import type { Role, Settings } from "../settings.ts";
import { heartbeat } from "./heartbeat.ts";

type CreateRole = (settings: Settings, context: Context) => RoleService;

/** Below the supervisor's own deadline, so that a role that is slow to stop still says what was slow. */
const STOP_DEADLINE_MS = 4_000;
const ALIVE_MS = 1_000;

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
  // Before it waits for its store, or is refused by a server that nobody meant.
  if (role !== "store" && role !== "provider") imagePlace(settings);
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

  const { signal } = stopAsked;
  const { redisUrl, aliveFile } = settings;
  let service: RoleService;
  let outcome: "ready" | "stopped";
  const beats: Promise<void>[] = [];
  try {
    service = (await wiring())(settings, context);
    const ready = service.start();
    beats.push(heartbeat({ role, instance, redisUrl, service, startedAtMs, ready }, context, signal));
    outcome = await Promise.race([ready.then(() => "ready" as const), stopped.then(() => "stopped" as const)]);
  } catch (error) {
    return dieOf(error);
  }
  if (outcome === "ready") {
    log[supervised ? "debug" : "info"]({ instance }, "ready");
    if (supervised && process.connected) process.send?.({ ready: true });
    beats.push(stayAlive(aliveFile, context, signal));
    await stopped;
  }
  return await finish(role, service, Promise.all(beats), context);
}

async function finish(role: Role, service: RoleService, beats: Promise<unknown>, context: Context): Promise<number> {
  const { log, clock } = context;
  try {
    await within(clock, STOP_DEADLINE_MS, `stop of ${role}`, async () => {
      await service.stop();
      await beats;
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
  for (let well = true; !signal.aborted; await clock.sleep(ALIVE_MS, signal).catch(() => {})) {
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
