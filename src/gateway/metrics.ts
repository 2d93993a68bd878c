/** Prometheus metrics of the gateway: its own, and what the store says about the whole. docs/socket.md lists the names. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { ToPublish, TopicLag, Totals } from "../events.ts";
import type { FeedEvent } from "./event-feed.ts";
import { keyGroupMetrics } from "./key-group-metrics.ts";
import { olderMetrics } from "./older-metrics.ts";
import type { VigilaneServer } from "./sockets.ts";
import { type StoreMetrics, storeMetrics, type Told } from "./store-metrics.ts";
import type { SystemState } from "./system-watch.ts";

export interface Metrics {
  contentType: string;
  /** The exposition: this gateway's own, what the store says of the whole system (which every gateway tells alike), or both. */
  text(only?: "gateway" | "system"): Promise<string>;
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
  const ownGauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      ...{ name, help, registers },
      collect() {
        this.set(value());
      },
    });
  ownGauge("vigilane_gateway_sockets", "Clients connected to this gateway.", () => io()?.engine.clientsCount ?? 0);
  ownGauge("vigilane_store_up", "1 when the store answers.", () => (state().health.store === "up" ? 1 : 0));
  ownGauge("vigilane_healthy", "1 when every role that was asked for is ready.", () => (state().health.ok ? 1 : 0));

  const system = new Registry();
  const kept = storeMetrics(system);
  systemMetrics(kept, state);
  keyGroupMetrics(kept, state);
  olderMetrics(kept, state);

  return {
    contentType: registry.contentType,
    async text(only) {
      const asked = only === undefined ? [registry, system] : [only === "gateway" ? registry : system];
      return (await Promise.all(asked.map((each) => each.metrics()))).join("\n");
    },
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

/** The whole, as the results role reckons it, and the living roles. */
function systemMetrics({ gauge, counter }: StoreMetrics, state: () => SystemState): void {
  const totals = (name: string, help: string, value: (totals: Totals) => number | null) =>
    gauge({ name, help }, (tell) => {
      const now = state().totals;
      const told = now && value(now);
      if (told !== null) tell({}, told);
    });
  totals("vigilane_waiting", "Tasks in the waiting room.", ({ waiting }) => waiting);
  totals("vigilane_in_flight", "Tasks taken, queued or in a call.", ({ inFlight }) => inFlight);
  totals("vigilane_quota_used_ratio", "Share of the tightest window in use.", ({ quotaUsed }) => quotaUsed);
  totals("vigilane_coverage_ratio", "Share of groups judged, over the last minute.", ({ coverage }) => coverage);
  const lags = (name: string, help: string, value: (lag: TopicLag) => number) =>
    gauge({ name, help, labels: ["topic", "consumer_group"] }, (tell) => {
      for (const lag of state().lags) tell({ topic: lag.topic, consumer_group: lag.group }, value(lag));
    });
  lags("vigilane_topic_lag_messages", "Messages that a consumer group has not dealt with.", ({ messages }) => messages);
  lags("vigilane_topic_lag_seconds", "Age of the oldest of them; 0: none.", ({ oldestAgeMs }) => oldestAgeMs / 1000);
  lags("vigilane_topic_lost_messages", "Messages that were gone before the group read them.", ({ lost }) => lost);
  const outcomes = { name: "vigilane_outcomes_total", help: "Groups that ended, by outcome.", labels: ["outcome"] };
  counter(outcomes, (tell) => {
    for (const [outcome, count] of Object.entries(state().totals?.outcomes ?? {})) tell({ outcome }, count);
  });
  gauge({ name: "vigilane_topics_up", help: "1 while no role is cut off from its topics." }, (tell) =>
    tell({}, state().health.topics?.problem ? 0 : 1),
  );
  const results = (name: string, help: string, value: (results: ToPublish) => number) =>
    gauge({ name, help }, (tell) => {
      const { resultsToPublish } = state().health;
      if (resultsToPublish) tell({}, value(resultsToPublish));
    });
  results("vigilane_outbox_results", "Results that wait for their topic.", ({ waiting }) => waiting);
  results("vigilane_outbox_results_limit", "So many may wait before admission pauses.", ({ most }) => most);
  const detections = (told: Told, kind: typeof gauge, value: (detections: ToPublish) => number) =>
    kind({ ...told, labels: ["instance"] }, (tell) => {
      for (const { role, instance, toPublish } of state().health.roles)
        if (role === "detector" && toPublish) tell({ instance }, value(toPublish));
    });
  const waiting = { name: "vigilane_detections_waiting", help: "Detections that wait for their topic." };
  detections(waiting, gauge, (told) => told.waiting);
  const dropped = { name: "vigilane_detections_dropped_total", help: "Detections dropped while their topic was away." };
  detections(dropped, counter, (told) => told.dropped);
  gauge(
    {
      ...{ name: "vigilane_role_resident_bytes", help: "Resident memory of each living role." },
      labels: ["role", "instance"],
    },
    (tell) => {
      for (const { role, instance, rssMb } of state().health.roles) tell({ role, instance }, rssMb * 1024 ** 2);
    },
  );
}
