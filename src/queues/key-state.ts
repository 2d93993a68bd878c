/**
 * The states of a key, and of a whole key group: what each event makes of its record. Pure. The store keeps the records, as a
 * handful of fields of the group's hash (`recordToFields`), and changes them by this same law (key-state.lua and room.lua):
 * this is what it is read and tested by.
 *
 *   available  calls go out                      in_use    the same, with calls under way
 *   cooling    none before coolUntilMs; where the breaker is open, then one probe first (half-open)
 *   disabled   refused: none but a probe when it is due, each time later; by hand: none at all
 *
 * A state is a function of record and time, so nothing has to tick. A probe is a real task, the least urgent that waits:
 * one at a time, forgotten when its worker dies. Circuit breaker: M. Nygard, Release It! (2007); the growing intervals are
 * those of exponential back-off.
 */

export const KEY_STATES = ["available", "in_use", "cooling", "disabled"] as const;
export type KeyState = (typeof KEY_STATES)[number];

/** Times are the store's clock, ms; 0: never was. */
export interface KeyRecord {
  /** Calls under way. */
  inFlight: number;
  /** No call before then. */
  coolUntilMs: number;
  /** Calls in a row at which the provider failed. */
  failures: number;
  /** The breaker is open: after coolUntilMs one probe decides. */
  open: boolean;
  /** refused: the provider will have none of it until somebody or midnight acts. by_hand: a person switched it off. */
  off: "no" | "refused" | "by_hand";
  /** refused: when the next probe is due. Also where it is known when the refusal ends by itself: what is known may be wrong. */
  probeAtMs: number;
  /** Probes in a row that did not help. */
  strikes: number;
  /** A probe is under way, until then at most. */
  probingUntilMs: number;
}

export const FRESH: KeyRecord = {
  inFlight: 0,
  coolUntilMs: 0,
  failures: 0,
  open: false,
  off: "no",
  probeAtMs: 0,
  strikes: 0,
  probingUntilMs: 0,
};

/** `probe`: it is about the call that was let through as a probe. */
export type KeyEvent =
  /** A lease was granted; it or its call ends by `endsByMs` at the latest. */
  | { kind: "taken"; endsByMs: number }
  /** Its call begins, and ends by then at the latest. */
  | { kind: "begun"; probe: boolean; endsByMs: number }
  /** Nothing was learned: the lease lapsed or its worker died (not `called`), or the call ended so (the task's own deadline was first, or it says something of the other of group and key alone). */
  | { kind: "returned"; probe: boolean; called: boolean }
  | { kind: "succeeded"; probe: boolean }
  /** The task was at fault: content, a bad request. The provider had taken the key. */
  | { kind: "innocent"; probe: boolean }
  /** A window was full. */
  | { kind: "limited"; probe: boolean; coolMs: number }
  /** The provider was in trouble: server, time-out, network. */
  | { kind: "failed"; probe: boolean; coolMs: number }
  /** Bad key, not paid, day used up, model not allowed. `firstMs`: to the first probe; `untilMs`: when it will end by itself, where that is known: it is probed then at the latest. */
  | { kind: "refused"; probe: boolean; firstMs: number; untilMs: number | null }
  /** A worker that holds it has started, maybe with another secret: refused or not is to be found out anew. */
  | { kind: "worker_started" }
  | { kind: "switched_off" }
  | { kind: "switched_on" };

export interface KeyStatePolicy {
  /** Failures in a row that open the breaker. Default 5. */
  opensAfter: number;
  /** An open breaker's rest doubles with each failed probe, up to this, ms. Default 120,000. */
  longestRestMs: number;
  /** Longest time between two probes of what is disabled, ms. Default an hour. */
  longestProbeMs: number;
  /** From a probe that was called and has said nothing to the next one, ms. Default 3,000. */
  probeAgainMs: number;
}

export const DEFAULT_KEY_STATE_POLICY: KeyStatePolicy = {
  opensAfter: 5,
  longestRestMs: 120_000,
  longestProbeMs: 3_600_000,
  probeAgainMs: 3_000,
};

export function stateOf({ off, open, coolUntilMs, inFlight }: KeyRecord, nowMs: number): KeyState {
  if (off !== "no") return "disabled";
  if (open || coolUntilMs > nowMs) return "cooling";
  return inFlight > 0 ? "in_use" : "available";
}

/**
 *   yes    any task
 *   probe  one task, the least urgent that waits
 *   no     none; ask again at `atMs`, null: not before an event
 */
export type MayCall = { kind: "yes" } | { kind: "probe" } | { kind: "no"; atMs: number | null };

export function mayCall(record: KeyRecord, nowMs: number): MayCall {
  const { off, open, coolUntilMs, probeAtMs, probingUntilMs } = record;
  if (off === "by_hand") return { kind: "no", atMs: null };
  const restsUntilMs = Math.max(coolUntilMs, off === "refused" ? probeAtMs : 0);
  if (restsUntilMs > nowMs) return { kind: "no", atMs: restsUntilMs };
  if (off === "no" && !open) return { kind: "yes" };
  return probingUntilMs > nowMs ? { kind: "no", atMs: probingUntilMs } : { kind: "probe" };
}

/** What becomes of the record. `random`: 0 to below 1. An event that cannot be (a call of what may not call) changes nothing. */
export function afterEvent(
  record: KeyRecord,
  event: KeyEvent,
  nowMs: number,
  random: number,
  policy: KeyStatePolicy = DEFAULT_KEY_STATE_POLICY,
): KeyRecord {
  if (event.kind === "switched_off") return { ...record, off: "by_hand", probeAtMs: 0, probingUntilMs: 0 };
  if (event.kind === "switched_on") {
    return { ...record, off: "no", open: false, failures: 0, strikes: 0, probeAtMs: 0, probingUntilMs: 0 };
  }
  if (event.kind === "worker_started") {
    return record.off === "refused" ? { ...record, strikes: 0, probeAtMs: nowMs } : record;
  }
  if (event.kind === "taken") return taken(record, event.endsByMs, nowMs);
  if (event.kind === "begun") return event.probe ? { ...record, probingUntilMs: event.endsByMs } : record;

  const ended = { ...record, inFlight: Math.max(0, record.inFlight - 1) };
  if (event.probe) ended.probingUntilMs = 0;
  switch (event.kind) {
    case "returned":
      return event.probe && event.called ? probedLater(ended, nowMs + policy.probeAgainMs) : ended;
    case "succeeded":
      return event.probe ? recovered(ended) : { ...ended, failures: 0 };
    case "innocent":
      return event.probe ? recovered(ended) : ended;
    case "limited":
      // Whoever is told to slow down is known and paid: a probe has found out what it was sent for.
      return cooled(event.probe ? recovered(ended) : ended, nowMs + event.coolMs);
    case "failed":
      return failed(ended, event, nowMs, random, policy);
    case "refused":
      return refused(ended, event, nowMs, random, policy);
    default:
      return event satisfies never;
  }
}

function taken(record: KeyRecord, endsByMs: number, nowMs: number): KeyRecord {
  const may = mayCall(record, nowMs);
  if (may.kind === "no") return record;
  const called = { ...record, inFlight: record.inFlight + 1 };
  return may.kind === "probe" ? { ...called, probingUntilMs: endsByMs } : called;
}

/** A later cool-down never shortens an earlier one. */
const cooled = (record: KeyRecord, untilMs: number): KeyRecord => ({
  ...record,
  coolUntilMs: Math.max(record.coolUntilMs, untilMs),
});

/** Only a person undoes what a person did. */
const recovered = (record: KeyRecord): KeyRecord =>
  record.off === "by_hand"
    ? record
    : { ...record, off: "no", open: false, failures: 0, strikes: 0, probeAtMs: 0, probingUntilMs: 0 };

/** Else the next task would be sent to the same end at once. */
function probedLater(record: KeyRecord, untilMs: number): KeyRecord {
  if (record.off === "refused") return { ...record, probeAtMs: Math.max(record.probeAtMs, untilMs) };
  return record.off === "no" && record.open ? cooled(record, untilMs) : record;
}

function failed(
  record: KeyRecord,
  { probe, coolMs }: { probe: boolean; coolMs: number },
  nowMs: number,
  random: number,
  policy: KeyStatePolicy,
): KeyRecord {
  const failures = record.failures + 1;
  const open = record.open || failures >= policy.opensAfter;
  const strikes = probe && record.off === "no" ? record.strikes + 1 : record.strikes;
  // The strikes of what is disabled are no failures of its provider.
  const doubled = record.off === "no" ? Math.min(policy.longestRestMs, coolMs * 2 ** strikes) : coolMs;
  const restMs = Math.max(coolMs, probe ? varied(doubled, random) : coolMs);
  return cooled({ ...record, failures, open, strikes }, nowMs + restMs);
}

function refused(
  record: KeyRecord,
  { probe, firstMs, untilMs }: { probe: boolean; firstMs: number; untilMs: number | null },
  nowMs: number,
  random: number,
  policy: KeyStatePolicy,
): KeyRecord {
  if (record.off === "by_hand") return record;
  // Calls that began before it was disabled only confirm it: they count no strike and bring no probe nearer.
  if (record.off === "refused" && !probe) return record;
  const strikes = record.off === "refused" ? record.strikes + 1 : 0;
  const waitMs = varied(Math.min(policy.longestProbeMs, firstMs * 2 ** strikes), random);
  return {
    ...record,
    off: "refused",
    strikes,
    probeAtMs: Math.min(nowMs + waitMs, untilMs ?? Number.POSITIVE_INFINITY),
  };
}

/** A tenth less or more, by chance, so that probes of many do not fall together. Whole ms. */
const varied = (ms: number, random: number) => Math.round(ms * (0.9 + 0.2 * random));

/** The record as fields of a hash; `suffix` ":<key id>" for a key, "" for the group itself. */
export function recordToFields(record: KeyRecord, suffix: string): Record<string, string> {
  return Object.fromEntries(
    FIELDS.map(([name, field]) => {
      const value = record[name];
      return [`${field}${suffix}`, typeof value === "boolean" ? (value ? "1" : "0") : String(value)];
    }),
  );
}

/** Missing fields are those of a fresh record. */
export function fieldsToRecord(fields: Readonly<Record<string, string>>, suffix: string): KeyRecord {
  const value = (field: string) => fields[`${field}${suffix}`];
  const number = (field: string) => Number(value(field) ?? 0) || 0;
  const off = value("off");
  return {
    inFlight: number("inFlight"),
    coolUntilMs: number("coolUntil"),
    failures: number("failures"),
    open: value("open") === "1",
    off: off === "refused" || off === "by_hand" ? off : "no",
    probeAtMs: number("probeAt"),
    strikes: number("strikes"),
    probingUntilMs: number("probing"),
  };
}

const FIELDS: readonly [keyof KeyRecord, string][] = [
  ["inFlight", "inFlight"],
  ["coolUntilMs", "coolUntil"],
  ["failures", "failures"],
  ["open", "open"],
  ["off", "off"],
  ["probeAtMs", "probeAt"],
  ["strikes", "strikes"],
  ["probingUntilMs", "probing"],
];
