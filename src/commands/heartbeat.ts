/** A role's heartbeat: its RoleHealth in the store, once a second, which is all that the rest of the system sees of it. */
import type { Context } from "../context.ts";
import type { RoleHealth } from "../events.ts";
import { KEYS } from "../names.ts";
import type { RoleService } from "../roles/role-service.ts";
import { connectStore } from "../store.ts";

const HEARTBEAT_MS = 1_000;

export interface Beating {
  role: string;
  instance: string;
  /** Undefined: the role has no store, and so no heartbeat. */
  redisUrl: string | undefined;
  service: RoleService;
  startedAtMs: number;
  /** Of its start. */
  ready: Promise<void>;
}

/**
 * Until `signal` aborts; then it is taken away. Before the role is ready there is none, unless its start waits for the topics: then it
 * says that.
 */
export async function heartbeat(beating: Beating, context: Context, signal: AbortSignal): Promise<void> {
  const { role, instance, redisUrl, service, startedAtMs } = beating;
  const { clock } = context;
  if (redisUrl === undefined) return;
  let ready = false;
  const started = beating.ready.then(() => {
    ready = true;
  });
  while (!signal.aborted && !ready && !service.topicTrouble?.()) {
    await Promise.race([started, clock.sleep(HEARTBEAT_MS, signal).catch(() => {})]);
  }
  // Commands of an absent store must not pile up: a heartbeat that cannot be sent is dropped.
  const aborted = new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined)));
  const connected = connectStore(redisUrl, context, { maxRetriesPerRequest: 0, enableOfflineQueue: false });
  const redis = await Promise.race([connected, aborted]);
  if (!redis) return;
  const field = `${role}/${instance}`;
  while (!signal.aborted) {
    const health: RoleHealth = {
      ...{ role, instance, pid: process.pid, ready },
      detail: ready ? (service.detail?.() ?? "") : "its start waits for the topics",
      atMs: clock.nowMs(),
      startedAtMs,
      rssMb: Math.round(process.memoryUsage.rss() / 1024 ** 2),
      topics: service.topicTrouble?.() ?? null,
      toPublish: service.toPublish?.() ?? null,
    };
    await redis.hset(KEYS.roles, field, JSON.stringify(health)).catch(() => {});
    await clock.sleep(HEARTBEAT_MS, signal).catch(() => {});
  }
  await redis.hdel(KEYS.roles, field).catch(() => {});
  redis.disconnect();
}
