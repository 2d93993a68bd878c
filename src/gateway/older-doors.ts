/**
 * The older system's HTTP interface, in its paths, names and units, for programs that were written for it: health, and what
 * its documents say of its scheduler and its pool of keys. Looking only, behind the same doors as everything else.
 */
import express, { type Router } from "express";
import type { Context } from "../context.ts";
import type { KeyGroupEvent } from "../events.ts";
import type { WaitingView } from "../waiting-view.ts";
import { askStore } from "./ask-store.ts";
import { keyGroupsToPool } from "./key-groups-to-pool.ts";
import type { SystemState, SystemWatch } from "./system-watch.ts";

export interface OlderDoorsOptions {
  system: SystemWatch;
  waiting: WaitingView;
  version: string;
  /** The setting, ms; they tell it in seconds. */
  frameIntervalMs: number;
}

/** What the older one calls itself: programs may look for it. */
const SERVICE = "algo";

export function olderDoors(options: OlderDoorsOptions, { clock }: Context): Router {
  const { system, waiting, version, frameIntervalMs } = options;
  const router = express.Router();
  const pool = () => keyGroupsToPool([...system.state().keyGroups.values()]);
  const scheduler = async () => {
    const counts = await askStore(system, clock, "the waiting room", () => waiting.counts());
    return { scheduler: schedulerStats(system.state(), counts.waiting), api_key_pool: pool() };
  };

  router.use(OLDER_PATHS, (_request, response, next) => {
    response.set("Cache-Control", "no-store");
    next();
  });
  router.get("/health/health_check", (_request, response) => {
    response.json({ status: "ok", service: SERVICE, version });
  });
  router.get("/api/health/health_check", (_request, response) => {
    response.json({
      code: 200,
      msg: "OK",
      data: {
        status: "ok",
        service: SERVICE,
        version,
        timestamp: new Date(clock.nowMs()).toISOString(),
        environment: {
          python: "",
          node: process.version,
          platform: process.platform,
          frame_interval: frameIntervalMs / 1000,
        },
      },
    });
  });
  router.get("/api-key-pool/health", (_request, response) => {
    response.json(pool());
  });
  router.get("/scheduler/stats", async (_request, response) => {
    response.json(await scheduler());
  });
  router.get("/api/scheduler/stats", async (_request, response) => {
    response.json({ code: 200, msg: "OK", data: await scheduler() });
  });
  return router;
}

const OLDER_PATHS = [
  "/health/health_check",
  "/api/health/health_check",
  "/api-key-pool/health",
  "/scheduler/stats",
  "/api/scheduler/stats",
];

/** Ours have outcomes that it did not know; they stand beside, so that received = processed + waiting + in flight. */
export function schedulerStats({ totals, keyGroups, counters, health }: SystemState, waiting: number) {
  const outcomes = totals?.outcomes ?? {};
  const { assessed = 0, reused = 0, failed = 0, expired = 0, superseded = 0 } = outcomes;
  return {
    tasks_received: totals?.groups ?? 0,
    tasks_processed: Object.values(outcomes).reduce((sum, count) => sum + count, 0),
    tasks_succeeded: assessed + reused,
    tasks_failed: failed,
    tasks_expired: expired,
    tasks_superseded: superseded,
    /** Calls after which their task was tried again. */
    tasks_retried: counters.get("calledAgain") ?? 0,
    average_llm_latency_ms: averageLatencyMs([...keyGroups.values()]),
    queue_size: waiting,
    max_workers: health.roles.filter(({ role }) => role === "worker").length,
  };
}

/** Of answered calls; 0 before the first. */
function averageLatencyMs(groups: readonly KeyGroupEvent[]): number {
  const counted = groups.reduce((sum, { latency }) => sum + latency.counts.reduce((all, n) => all + n, 0), 0);
  const tookMs = groups.reduce((sum, { latency }) => sum + latency.sumMs, 0);
  return counted > 0 ? tookMs / counted : 0;
}
