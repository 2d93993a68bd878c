/**
 * The older system's names for what concerns keys and the LLM, beside our own, so that dashboards made for it go on: there
 * each key had a pool's place, here the pool (pool_id) is a key group.
 */
import { type KeyEvent, type KeyGroupEvent, LATENCY_ENDS_MS } from "../events.ts";
import { LATENCY_ENDS_SECONDS, secondsOf } from "./key-group-metrics.ts";
import { OLDER_STATES } from "./key-groups-to-pool.ts";
import type { StoreMetrics, Tell } from "./store-metrics.ts";
import type { SystemState } from "./system-watch.ts";

const SCHEDULER_ID = "vigilane";

export function olderMetrics({ gauge, counter, histogram }: StoreMetrics, state: () => SystemState): void {
  const groups = () => [...state().keyGroups.values()];
  const each = (value: (key: KeyEvent, group: KeyGroupEvent) => number) => (tell: Tell) => {
    for (const group of groups()) {
      for (const key of group.keys) tell({ pool_id: group.id, key_id: key.id }, value(key, group));
    }
  };
  const labels = ["pool_id", "key_id"];

  counter(
    {
      ...{ name: "llm_requests_total", help: "LLM calls that ended, by status: success or error." },
      labels: ["model", "api_key_id", "status"],
    },
    (tell) => {
      for (const { model, keys } of groups()) {
        for (const { id, ok, failed } of keys) {
          tell({ model, api_key_id: id, status: "success" }, ok);
          tell({ model, api_key_id: id, status: "error" }, failed);
        }
      }
    },
  );
  histogram(
    { name: "llm_latency_seconds", help: "How long answered LLM calls took.", ends: LATENCY_ENDS_SECONDS },
    () => [{ ...secondsOf(allLatencies(groups())), labels: {} }],
  );
  counter(
    {
      ...{
        name: "llm_token_usage_total",
        help: "Tokens of answered LLM calls: prompt (with the picture), completion.",
      },
      labels: ["model", "token_type"],
    },
    (tell) => {
      for (const { model, tokens } of groups()) {
        tell({ model, token_type: "prompt" }, tokens.prompt);
        tell({ model, token_type: "completion" }, tokens.completion);
      }
    },
  );
  gauge(
    {
      ...{ name: "llm_concurrent_tasks", help: "LLM calls under way, over all key groups." },
      labels: ["scheduler_id"],
    },
    (tell) =>
      tell(
        { scheduler_id: SCHEDULER_ID },
        groups().reduce((sum, group) => sum + group.inFlight, 0),
      ),
  );
  gauge(
    {
      ...{ name: "kafka_consumer_lag", help: "Messages not dealt with, over all partitions." },
      labels: ["topic", "partition", "consumer_group"],
    },
    (tell) => {
      for (const { topic, group, messages } of state().lags) {
        tell({ topic, partition: "all", consumer_group: group }, messages);
      }
    },
  );
  gauge({ name: "api_key_pool_size", help: "Keys of each key group.", labels: ["pool_id"] }, (tell) => {
    for (const { id, keys } of groups()) tell({ pool_id: id }, keys.length);
  });
  gauge(
    { name: "api_key_status", help: "1 available, 2 in use, 3 cooling, 4 disabled or without a worker.", labels },
    each(({ state: now }) => OLDER_STATES[now].number),
  );
  gauge(
    {
      name: "api_key_success_rate",
      help: "Answered calls among those that ended, 0 to 1; 1 before the first.",
      labels,
    },
    each(({ ok, failed }) => (ok + failed > 0 ? ok / (ok + failed) : 1)),
  );
  counter(
    { name: "api_key_total_calls_total", help: "Calls begun with each key.", labels },
    each(({ calls }) => calls),
  );
  gauge(
    { name: "api_key_cooldown_seconds", help: "Until the key may be used again.", labels },
    each(({ leftMs }) => leftMs / 1000),
  );
  counter(
    {
      ...{
        name: "tasks_processed_total",
        help: "Tasks that ended: success (assessed or reused), failed, expired, superseded.",
      },
      labels: ["status"],
    },
    (tell) => {
      for (const [outcome, n] of Object.entries(state().totals?.outcomes ?? {})) {
        tell({ status: outcome === "assessed" || outcome === "reused" ? "success" : outcome }, n);
      }
    },
  );
  gauge(
    {
      ...{ name: "task_queue_size", help: "Tasks that wait (waiting) and that are taken or in a call (in_flight)." },
      labels: ["queue_type"],
    },
    (tell) => {
      const { totals } = state();
      if (totals === null) return;
      tell({ queue_type: "waiting" }, totals.waiting);
      tell({ queue_type: "in_flight" }, totals.inFlight);
    },
  );
}

function allLatencies(groups: readonly KeyGroupEvent[]): KeyGroupEvent["latency"] {
  const counts = [...LATENCY_ENDS_MS, "rest"].map((_, i) =>
    groups.reduce((sum, { latency }) => sum + (latency.counts[i] ?? 0), 0),
  );
  return { counts, sumMs: groups.reduce((sum, { latency }) => sum + latency.sumMs, 0) };
}
