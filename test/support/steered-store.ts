/**
 * A real store whose clock the test steers: Valkey in WebAssembly asks its host for the time, and here the host answers
 * what the test says. Days pass in no time, and TIME, expiries and scripts agree about it.
 */
import type { Redis } from "ioredis";
import { pino } from "pino";
import { type Clock, systemClock } from "../../src/context.ts";
import { Acquired } from "../../src/lifecycle.ts";
import { startWasm } from "../../src/roles/store.ts";
import { connectStore } from "../../src/store.ts";
import { placeStore } from "../../src/supervisor/store.ts";

export interface SteeredStore {
  redis: Redis;
  /** Another connection. */
  connect(): Promise<Redis>;
  /** The store's clock: stands still until it is moved. `sleep` moves it. */
  clock: Clock;
  nowMs(): number;
  set(ms: number): void;
  stop(): Promise<void>;
}

type ClockTimeGet = (id: number, precision: bigint, pointer: number) => number;
const WALL_CLOCK = 0;
interface Wasm {
  instantiate(
    module: unknown,
    imports: Record<string, Record<string, unknown>>,
  ): Promise<{ exports: { memory: { buffer: ArrayBuffer } } }>;
}

export async function startSteeredStore(startAtMs: number): Promise<SteeredStore> {
  let nowMs = startAtMs;
  const context = { clock: systemClock, log: pino({ level: "silent" }) };
  const acquired = new Acquired();
  const place = await placeStore();
  const wasm = WebAssembly as unknown as Wasm;
  const instantiate = wasm.instantiate;
  try {
    wasm.instantiate = steered;
    await startWasm(place, context, acquired.add.bind(acquired));
  } finally {
    wasm.instantiate = instantiate;
  }
  const connect = async () =>
    acquired.add(await connectStore(place.url, context), "connection", (redis) => redis.disconnect());
  const redis = await connect();

  // Its monotonic clock goes on by itself: by that it looks at its sockets.
  async function steered(module: unknown, imports: Record<string, Record<string, unknown>>) {
    const wasi = imports.wasi_snapshot_preview1 as { clock_time_get: ClockTimeGet };
    const clock_time_get: ClockTimeGet = (id, precision, pointer) => {
      if (id !== WALL_CLOCK) return wasi.clock_time_get(id, precision, pointer);
      new DataView(instance.exports.memory.buffer).setBigUint64(
        pointer,
        BigInt(Math.round(nowMs * 1_000)) * 1_000n,
        true,
      );
      return 0;
    };
    const instance = await instantiate(module, { ...imports, wasi_snapshot_preview1: { ...wasi, clock_time_get } });
    return instance;
  }

  return {
    redis,
    connect,
    clock: {
      nowMs: () => nowMs,
      monotonicMs: () => nowMs,
      sleep: async (ms) => {
        nowMs += ms;
      },
    },
    nowMs: () => nowMs,
    set: (ms) => {
      nowMs = ms;
    },
    stop: async () => void (await acquired.unwind(context)),
  };
}
