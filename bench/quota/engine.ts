/**
 * The quota engine as people run it, and nothing else: a redis-server, bridges and workers as processes of their own, and
 * the provider in another. Tasks come in by the waiting room's own door.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import sharp from "sharp";
import { createFolderImageStore } from "../../src/images/folder-image-store.ts";
import { createWaitingRoom } from "../../src/queues/redis-waiting-room.ts";
import type { WaitingRoom } from "../../src/queues/waiting-room.ts";
import { silent } from "../../test/support/pipeline.ts";
import { freePort, startRedis, type TestRedis } from "../../test/support/redis.ts";
import { type ProviderProcess, startProvider } from "./provider-process.ts";
import { startRole } from "./role-process.ts";

export interface BenchGroup {
  /** Of the key group and of its account at the provider. */
  id: string;
  windows: { requestsPerSecond?: number; requestsPerMinute?: number };
}

export interface EngineOptions {
  groups: readonly BenchGroup[];
  /** Fields of the simulator's file besides the accounts. Default: answers after 1.0 s in the mean, 1.45 s at P95. */
  simulator?: { refusedCallsCount?: boolean; [field: string]: unknown };
  /** Default 1 of each. */
  bridges?: number;
  workers?: number;
  /** Modules that each worker loads before anything else. */
  workerImports?: readonly URL[];
}

export interface Engine {
  store: TestRedis;
  redis: Redis;
  provider: ProviderProcess;
  room: WaitingRoom;
  /** Reference of a crop that every task may show. */
  imageUrl: string;
  /** Calls a second that all groups together may make for long. */
  quotaPerSecond: number;
  pids: { bridges: number[]; workers: number[] };
  /** Writes the keys' file anew, with these groups' keys disabled, as an operator would. */
  disable(ids: readonly string[]): void;
  stop(): Promise<void>;
}

export const tenGroups = (perSecond = 5): BenchGroup[] => groupsOf(10, perSecond);

export function groupsOf(count: number, perSecond = 5): BenchGroup[] {
  return Array.from({ length: count }, (_, i) => ({
    id: `group-${String(i + 1).padStart(4, "0")}`,
    windows: { requestsPerSecond: perSecond, requestsPerMinute: perSecond * 60 },
  }));
}

export function quotaOf(groups: readonly BenchGroup[]): number {
  const none = Number.POSITIVE_INFINITY;
  return groups.reduce(
    (sum, { windows: w }) => sum + Math.min(w.requestsPerSecond ?? none, (w.requestsPerMinute ?? none) / 60),
    0,
  );
}

export const secretOf = (groupId: string) => `secret-${groupId}`;

export async function startEngine(options: EngineOptions): Promise<Engine> {
  const releases: (() => unknown)[] = [];
  const stop = async () => {
    for (const release of releases.reverse()) await release();
    releases.length = 0;
  };
  try {
    return await start(options, releases, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(options: EngineOptions, releases: (() => unknown)[], stop: () => Promise<void>): Promise<Engine> {
  const { groups } = options;
  const data = mkdtempSync(join(tmpdir(), "vigilane-bench-"));
  releases.push(() => rmSync(data, { recursive: true, force: true }));
  const store = await startRedis();
  releases.push(() => store.stop());
  const redis = new Redis(store.url, { maxRetriesPerRequest: null });
  releases.push(() => redis.disconnect());
  const images = createFolderImageStore({ folder: join(data, "images") }, silent);
  await images.start();
  releases.push(() => images.stop());

  const [keys, simulator] = [join(data, "keys.yaml"), join(data, "simulator.yaml")];
  const disable = (ids: readonly string[]) =>
    writeFileSync(keys, keysFile(groups, ids, options.simulator?.refusedCallsCount ?? false));
  disable([]);
  const accounts = groups.map(({ id, windows }) => ({ id, keys: [secretOf(id)], windows }));
  writeFileSync(simulator, JSON.stringify({ ...options.simulator, accounts })); // YAML reads JSON
  const url = `http://127.0.0.1:${await freePort()}/v1`;
  const env = {
    REDIS_URL: store.url,
    VIGILANE_DATA: data,
    VIGILANE_KEYS: keys,
    VIGILANE_SIMULATOR: simulator,
    VIGILANE_SIMULATOR_URL: url,
    VIGILANE_CALLS_PER_DAY: "0",
  };
  const provider = await startProvider(url, env);
  releases.push(() => provider.stop());
  const startSome = (role: string, count: number, imports: readonly URL[] = []) =>
    Promise.all(
      Array.from({ length: count }, async (_, i) => {
        const one = await startRole(role, { env: { ...env, VIGILANE_INSTANCE: `${role}-${i + 1}` }, imports });
        releases.push(() => one.stop());
        return one.pid;
      }),
    );
  const bridges = await startSome("bridge", options.bridges ?? 1);
  const workers = await startSome("worker", options.workers ?? 1, options.workerImports);
  return {
    store,
    redis,
    provider,
    room: createWaitingRoom(redis, { maxWaiting: 5_000 }),
    imageUrl: await images.put("bench", "crop", await aCrop()),
    quotaPerSecond: quotaOf(groups),
    pids: { bridges, workers },
    disable,
    stop,
  };
}

function keysFile(groups: readonly BenchGroup[], disabled: readonly string[], refusedCallsCount: boolean): string {
  const keyGroups = groups.map(({ id, windows }) => {
    const key = { id: "key", secret: secretOf(id), ...(disabled.includes(id) && { enabled: false }) };
    return { id, provider: "simulated", windows, keys: [key], refusedCallsCount };
  });
  return JSON.stringify({ keyGroups });
}

/** A small JPEG. */
export const aCrop = () =>
  sharp({ create: { width: 64, height: 48, channels: 3, background: "#765" } })
    .jpeg()
    .toBuffer();
