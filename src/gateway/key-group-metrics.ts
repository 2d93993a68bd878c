/** What the store says of key groups, in our own names. docs/socket.md lists them. */
import { type KeyGroupEvent, KeyState, LATENCY_ENDS_MS } from "../events.ts";
import type { StoreMetrics, Tell } from "./store-metrics.ts";
import type { SystemState } from "./system-watch.ts";

export const LATENCY_ENDS_SECONDS = LATENCY_ENDS_MS.map((end) => end / 1000);

export function keyGroupMetrics({ gauge, counter, histogram }: StoreMetrics, state: () => SystemState): void {
  const groups = () => [...state().keyGroups.values()];
  const each = (value: (group: KeyGroupEvent) => number) => (tell: Tell) => {
    for (const group of groups()) tell({ key_group: group.id }, value(group));
  };
  const labels = ["key_group"];

  counter(
    { name: "vigilane_key_group_calls_begun_total", help: "Calls begun by each key group.", labels },
    each(({ calls }) => calls),
  );
  counter(
    {
      ...{ name: "vigilane_key_group_calls_total", help: "Calls that ended: answered, rate_limited (429) or failed." },
      labels: ["key_group", "outcome"],
    },
    (tell) => {
      for (const { id, ok, rejected429, failures } of groups()) {
        const failed = Object.values(failures).reduce((sum, n) => sum + n, 0);
        tell({ key_group: id, outcome: "answered" }, ok);
        tell({ key_group: id, outcome: "rate_limited" }, rejected429);
        tell({ key_group: id, outcome: "failed" }, Math.max(0, failed - rejected429));
      }
    },
  );
  counter(
    {
      ...{
        name: "vigilane_key_group_refusals_total",
        help: "Refused or failed calls by cause (an error code) and reason.",
      },
      labels: ["key_group", "cause", "reason"],
    },
    (tell) => {
      for (const { id, failures, refusals } of groups()) {
        for (const [cause, n] of Object.entries(failures)) {
          const reasons = Object.entries(refusals[cause] ?? {});
          // What older workers counted has no reason, and stays so.
          const rest = n - reasons.reduce((sum, [, of]) => sum + of, 0);
          if (rest > 0) tell({ key_group: id, cause }, rest);
          for (const [reason, of] of reasons) tell({ key_group: id, cause, reason }, of);
        }
      }
    },
  );
  counter(
    {
      name: "vigilane_key_calls_begun_total",
      help: "Calls begun with each key of each key group.",
      labels: ["key_group", "key"],
    },
    (tell) => {
      for (const { id, keys } of groups()) {
        for (const key of keys) tell({ key_group: id, key: key.id }, key.calls);
      }
    },
  );
  histogram(
    {
      ...{ name: "vigilane_key_group_latency_seconds", help: "How long answered calls took.", labels },
      ends: LATENCY_ENDS_SECONDS,
    },
    () => groups().map(({ id, latency }) => ({ ...secondsOf(latency), labels: { key_group: id } })),
  );
  counter(
    {
      ...{ name: "vigilane_key_group_tokens_total", help: "Tokens of answered calls: prompt, completion." },
      labels: ["key_group", "type"],
    },
    (tell) => {
      for (const { id, tokens } of groups()) {
        tell({ key_group: id, type: "prompt" }, tokens.prompt);
        tell({ key_group: id, type: "completion" }, tokens.completion);
      }
    },
  );
  const ofWindow = (value: (window: { limit: number; used: number }) => number) => (tell: Tell) => {
    for (const { id, windows, concurrency } of groups()) {
      for (const window of windows) tell({ key_group: id, window: window.name }, value(window));
      if (concurrency) tell({ key_group: id, window: "maxConcurrent" }, value(concurrency));
    }
  };
  const windowLabels = ["key_group", "window"];
  gauge(
    { name: "vigilane_key_group_window_used", help: "Places in use in each quota window.", labels: windowLabels },
    ofWindow(({ used }) => used),
  );
  gauge(
    { name: "vigilane_key_group_window_limit", help: "Places of each quota window.", labels: windowLabels },
    ofWindow(({ limit }) => limit),
  );
  gauge(
    {
      ...{ name: "vigilane_key_group_state", help: "1 for the state that the key group is in, 0 for the others." },
      labels: ["key_group", "state"],
    },
    (tell) => {
      for (const { id, state: now } of groups()) {
        for (const name of KeyState.options) tell({ key_group: id, state: name }, name === now ? 1 : 0);
      }
    },
  );
  gauge(
    { name: "vigilane_key_group_cooling_seconds", help: "Left of the cool-down.", labels },
    each(({ coolingLeftMs }) => coolingLeftMs / 1000),
  );
  gauge(
    { name: "vigilane_key_group_guard_seconds", help: "Windows are widened by this against jitter.", labels },
    each(({ guardMs }) => guardMs / 1000),
  );
  gauge(
    { name: "vigilane_key_group_in_flight", help: "Calls under way.", labels },
    each(({ inFlight }) => inFlight),
  );
  counter(
    {
      name: "vigilane_key_group_changes_total",
      help: "How often a key group (key empty) or one of its keys came into a state.",
      labels: ["key_group", "key", "state"],
    },
    (tell) => {
      for (const [field, n] of state().keyGroupChangeCounts) {
        const [, group = "", key = "", to = ""] = /^([^/:]+)\/?([^:]*):(.+)$/.exec(field) ?? [];
        if (group) tell({ key_group: group, key, state: to }, n);
      }
    },
  );
}

export const secondsOf = ({ counts, sumMs }: KeyGroupEvent["latency"]) => ({ counts, sum: sumMs / 1000 });
