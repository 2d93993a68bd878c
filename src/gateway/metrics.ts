/** Prometheus metrics of the gateway: its own, and what the store says about the whole. docs/socket.md lists the names. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { FeedEvent } from "./event-feed.ts";
import type { VigilaneServer } from "./sockets.ts";
import type { SystemState } from "./system-watch.ts";

export interface Metrics {
  registry: Registry;
  shown(event: FeedEvent, shownAtMs: number): void;
  slowClient(): void;
  answered(status: number): void;
}

export function createMetrics(state: () => SystemState, io: () => VigilaneServer | undefined): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, prefix: "vigilane_gateway_" });

  const shown = new Counter({
    name: "vigilane_gateway_events_shown_total",
    help: "Events that this gateway emitted, by type.",
    labelNames: ["type"],
    registers,
  });
  const endToEnd = new Histogram({
    name: "vigilane_end_to_end_seconds",
    help: "From the frame's arrival to the emit of its verdict (assessed or reused).",
    buckets: [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 20, 60],
    registers,
  });
  const slow = new Counter({
    name: "vigilane_gateway_slow_clients_total",
    help: "Clients disconnected because they did not keep up.",
    registers,
  });
  const requests = new Counter({
    name: "vigilane_gateway_http_requests_total",
    help: "HTTP answers by status.",
    labelNames: ["status"],
    registers,
  });
  const gauge = (name: string, help: string, collect: (gauge: Gauge) => void, labelNames: string[] = []) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        collect(this);
      },
    });
  gauge("vigilane_gateway_sockets", "Clients connected to this gateway.", (g) => g.set(io()?.engine.clientsCount ?? 0));
  gauge("vigilane_store_up", "1 when the store answers.", (g) => g.set(state().health.store === "up" ? 1 : 0));
  gauge("vigilane_healthy", "1 when every role that was asked for is ready.", (g) => g.set(state().health.ok ? 1 : 0));
  gauge("vigilane_waiting", "Tasks in the waiting room.", (g) => g.set(state().totals?.waiting ?? 0));
  gauge("vigilane_in_flight", "Tasks taken, queued or in a call.", (g) => g.set(state().totals?.inFlight ?? 0));
  gauge("vigilane_quota_used_ratio", "Share of the tightest window in use.", (g) =>
    g.set(state().totals?.quotaUsed ?? 0),
  );
  gauge("vigilane_coverage_ratio", "Share of groups judged, over the last minute.", (g) => {
    const coverage = state().totals?.coverage;
    if (typeof coverage === "number") g.set(coverage);
  });
  const byOutcome = (g: Gauge) => {
    for (const [outcome, count] of Object.entries(state().totals?.outcomes ?? {})) g.set({ outcome }, count);
  };
  gauge("vigilane_outcomes", "Groups by outcome since the store began.", byOutcome, ["outcome"]);
  const byRole = (g: Gauge) => {
    for (const { role, instance, rssMb } of state().health.roles) g.set({ role, instance }, rssMb * 1024 ** 2);
  };
  gauge("vigilane_role_resident_bytes", "Resident memory of each living role.", byRole, ["role", "instance"]);
  const byGroup =
    (pick: (group: { calls: number; ok: number; rejected429: number; inFlight: number }) => number) => (g: Gauge) => {
      for (const group of state().keyGroups.values()) g.set({ key_group: group.id }, pick(group));
    };
  gauge(
    "vigilane_key_group_calls",
    "Calls of each key group.",
    byGroup((group) => group.calls),
    ["key_group"],
  );
  gauge(
    "vigilane_key_group_ok",
    "Answered calls.",
    byGroup((group) => group.ok),
    ["key_group"],
  );
  gauge(
    "vigilane_key_group_rejected",
    "Calls refused for rate (429).",
    byGroup((group) => group.rejected429),
    ["key_group"],
  );
  gauge(
    "vigilane_key_group_in_flight",
    "Calls under way.",
    byGroup((group) => group.inFlight),
    ["key_group"],
  );

  return {
    registry,
    shown(event, shownAtMs) {
      shown.inc({ type: event.type });
      if (event.type !== "outcome") return;
      const { outcome, metadata } = event.result;
      if (outcome === "assessed" || outcome === "reused") {
        endToEnd.observe(Math.max(0, shownAtMs - metadata.timings.capturedAt) / 1000);
      }
    },
    slowClient: () => slow.inc(),
    answered: (status) => requests.inc({ status: String(status) }),
  };
}
