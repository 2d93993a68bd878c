/** The store (Redis or Valkey): connections, its fitness, and Lua scripts. Every role reaches it through this file. */
import { readFileSync } from "node:fs";
import { Redis, type RedisOptions } from "ioredis";
import type { Context } from "./context.ts";
import { VigilaneError } from "./errors.ts";
import { abortOf } from "./lifecycle.ts";

export type StoreOptions = Omit<RedisOptions, "replyMapping">;

/**
 * A connection that waits out an absent store: commands queue up and are answered when it is back; none is ever sent
 * twice by itself unless the connection broke before its answer (so every write of ours is idempotent or fenced).
 * Resolves when connected the first time, or rejects when `signal` aborts before; the caller quits it.
 */
export async function connectStore(
  redisUrl: string,
  { log }: Context,
  options: StoreOptions = {},
  signal?: AbortSignal,
): Promise<Redis> {
  const merged: StoreOptions = {
    lazyConnect: true,
    maxRetriesPerRequest: null,
    enableReadyCheck: true,
    // A store that is reading its file in names how long that may take; it is asked again sooner.
    maxLoadingRetryTime: 250,
    connectTimeout: 5_000,
    retryStrategy: (tries) => Math.min(1_000, 25 * 2 ** Math.min(tries, 6)),
    ...options,
  };
  const redis = new Redis(redisUrl, merged);
  let away = false;
  redis.on("error", (error: Error) => {
    if (!away) log.warn({ cause: error.message }, "the store is away; waiting for it");
    away = true;
  });
  redis.on("ready", () => {
    if (away) log.info("the store is back");
    away = false;
  });
  const ready = redis.connect().catch(() => new Promise<void>((resolve) => redis.once("ready", resolve)));
  await (signal ? Promise.race([ready, abortOf(signal)]) : ready);
  if (signal?.aborted) {
    redis.disconnect();
    signal.throwIfAborted();
  }
  return redis;
}

const ANSWER_MS = 5_000;

/** For somebody who sits before it: rejects with STORE_AWAY when no store answers within seconds. */
export async function connectStoreSoon(redisUrl: string, context: Context, stopped: AbortSignal): Promise<Redis> {
  const late = new AbortController();
  const connected = new AbortController();
  void context.clock
    .sleep(ANSWER_MS, connected.signal)
    .then(() => late.abort())
    .catch(() => {});
  try {
    return await connectStore(redisUrl, context, {}, AbortSignal.any([stopped, late.signal]));
  } catch (error) {
    if (!late.signal.aborted) throw error;
    throw new VigilaneError("STORE_AWAY", `no store answers within ${ANSWER_MS / 1_000} s`, { cause: error });
  } finally {
    connected.abort();
  }
}

/** A Redis that is not our store: that of an older system's readers. Whatever asks it goes on without where it is not well. */
export interface Beside {
  /**
   * What `work` comes to; undefined where that Redis is away, refuses, or does not answer within half a second. One that did
   * not answer is not asked for the next two seconds, so that it holds up nobody again and again. Never rejects.
   */
  ask<T>(work: (redis: Redis) => Promise<T>): Promise<T | undefined>;
  disconnect(): void;
}

const BESIDE_PATIENCE_MS = 500;
const BESIDE_REST_MS = 2_000;

/** There at once, connecting by itself; the caller disconnects it. */
export function connectBeside(redisUrl: string, { clock, log }: Context): Beside {
  const redis = new Redis(redisUrl, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    connectTimeout: 5_000,
    commandTimeout: BESIDE_PATIENCE_MS,
    retryStrategy: (tries) => Math.min(1_000, 25 * 2 ** Math.min(tries, 6)),
  });
  redis.on("error", () => {}); // told by what fails
  let askAgainMs = Number.NEGATIVE_INFINITY;
  let failing = false;
  return {
    async ask(work) {
      const beganMs = clock.monotonicMs();
      if (beganMs < askAgainMs) return undefined;
      try {
        const answer = await work(redis);
        if (failing) log.info("the older system's Redis is well again");
        failing = false;
        return answer;
      } catch (error) {
        if (clock.monotonicMs() - beganMs > BESIDE_PATIENCE_MS / 2) askAgainMs = clock.monotonicMs() + BESIDE_REST_MS;
        if (!failing) log.warn({ err: error }, "the older system's Redis is away or refuses; going on without it");
        failing = true;
        return undefined;
      }
    },
    disconnect: () => redis.disconnect(),
  };
}

export interface StoreFacts {
  version: string;
  runId: string;
  /** Nothing outlives the store's process. */
  inMemory: boolean;
  /** Redis' appendfsync, or "none" without append-only file. */
  fsync: string;
}

/** Throws STORE_UNFIT when the store is too old or may evict what we keep. */
export async function checkStore(redis: Redis): Promise<StoreFacts> {
  const info = Object.fromEntries(
    (await redis.info())
      .split("\r\n")
      .filter((line) => line.includes(":"))
      .map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1)]),
  );
  const version = info.valkey_version ?? info.redis_version ?? "0";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    throw new VigilaneError("STORE_UNFIT", `the store is version ${version}; 6.2 or later is needed`);
  }
  const policy = info.maxmemory_policy ?? "noeviction";
  if (policy !== "noeviction") {
    throw new VigilaneError(
      "STORE_UNFIT",
      `the store's maxmemory-policy is ${policy}: it would drop tasks; it must be noeviction`,
    );
  }
  const append = info.aof_enabled === "1";
  const fsync = append
    ? String(((await redis.config("GET", "appendfsync").catch(() => [])) as string[])[1] ?? "unknown")
    : "none";
  return { version, runId: info.run_id ?? "", inMemory: !append, fsync };
}

/**
 * The place from which to read a stream on: `place`, or the newest entry before it that the stream still has. The two differ
 * only where the stream is shorter than it was (trimmed; or the store came back without its newest writes, and with its
 * clock set back would give out smaller ids than `place` for a while). No entry that is there now lies between.
 */
export async function placeInStream(redis: Redis, stream: string, place: string): Promise<string> {
  return (await redis.xrevrange(stream, place, "-", "COUNT", 1))[0]?.[0] ?? "0-0";
}

/** A Lua script file, loaded once, run by its SHA (EVALSHA, falling back to EVAL). Replies are unknown: validate them. */
export class StoreScript {
  readonly #lua: string;
  readonly #name: string;

  /** `url`: `new URL("./x.lua", import.meta.url)`. `shared`: files of Lua functions that are set before it, in order. */
  constructor(url: URL, shared: readonly URL[] = []) {
    this.#lua = [...shared, url].map((file) => readFileSync(file, "utf8")).join("\n");
    this.#name = `vl_${url.pathname
      .split("/")
      .slice(-2)
      .join("_")
      .replaceAll(/[^a-z0-9]/gi, "_")}`;
  }

  run(redis: Redis, keys: readonly string[], args: readonly (string | number | Buffer)[]): Promise<unknown> {
    type Dynamic = Record<string, ((...all: unknown[]) => Promise<unknown>) | undefined>;
    const commands = redis as unknown as Dynamic;
    if (!commands[this.#name]) redis.defineCommand(this.#name, { lua: this.#lua });
    const command = commands[this.#name];
    if (!command) throw new Error(`script ${this.#name} could not be defined`);
    return command.call(redis, keys.length, ...keys, ...args);
  }
}
