/** Everything the page knows, and how what arrives changes it. Pure: no sockets, no clock, no DOM. */
import type {
  CameraEvent,
  CameraRisk,
  Health,
  KeyGroupChange,
  KeyGroupEvent,
  OutcomeEvent,
  Snapshot,
  Totals,
} from "../../../src/events.ts";

/** connecting: never been live yet; lost: was live, is not. */
export type Link = "connecting" | "live" | "lost";

export interface LiveData {
  /** False until the first snapshot: nothing may be called empty before. */
  loaded: boolean;
  /** The gateway's clock less this machine's, ms. */
  clockOffsetMs: number;
  cameras: Record<string, CameraEvent>;
  /** When a camera's risk last turned high, gateway's clock: only a new high pulses. */
  raisedAtMs: Record<string, number>;
  /** Newest first, one for each task (its newest revision). */
  outcomes: OutcomeEvent[];
  keyGroups: Record<string, KeyGroupEvent>;
  /** When a group's cool-down will be over, gateway's clock; of those that cool. */
  coolingUntilMs: Record<string, number>;
  /** Newest first. */
  keyGroupChanges: KeyGroupChange[];
  totals: Totals | null;
  health: Health | null;
}

export const NOTHING_YET: LiveData = {
  loaded: false,
  clockOffsetMs: 0,
  cameras: {},
  raisedAtMs: {},
  outcomes: [],
  keyGroups: {},
  coolingUntilMs: {},
  keyGroupChanges: [],
  totals: null,
  health: null,
};

/** Whether what is shown is live: the gateway is there, and the store from which it knows. */
export const isLive = ({ link, health }: { link: Link; health: Health | null }) =>
  link === "live" && health?.store !== "away";

/** What came from the socket since the last flush. */
export interface Inbox {
  cameras: CameraEvent[];
  outcomes: OutcomeEvent[];
  keyGroups: KeyGroupEvent[];
  keyGroupChanges: KeyGroupChange[];
  totals: Totals | null;
  health: Health | null;
}

export const emptyInbox = (): Inbox => ({
  ...{ cameras: [], outcomes: [], keyGroups: [], keyGroupChanges: [] },
  ...{ totals: null, health: null },
});

export const isEmpty = ({ cameras, outcomes, keyGroups, keyGroupChanges, totals, health }: Inbox) =>
  [cameras, outcomes, keyGroups, keyGroupChanges].every((list) => list.length === 0) && !totals && !health;

/** Kept of all outcomes, and of those the medium and high ones, which outlive the rest. */
const KEPT_OUTCOMES = 200;
const KEPT_RISKS = 100;
const KEPT_CHANGES = 100;

export function applySnapshot(data: LiveData, snapshot: Snapshot, clockOffsetMs: number): LiveData {
  return {
    ...data,
    loaded: true,
    clockOffsetMs,
    cameras: Object.fromEntries(snapshot.cameras.map((camera) => [camera.cameraId, camera])),
    keyGroups: Object.fromEntries(snapshot.keyGroups.map((group) => [group.id, group])),
    coolingUntilMs: coolingUntil(data.coolingUntilMs, snapshot.keyGroups, snapshot.nowMs),
    keyGroupChanges: mergeChanges(data.keyGroupChanges, snapshot.keyGroupChanges),
    totals: snapshot.totals,
    health: snapshot.health,
    outcomes: mergeOutcomes(data.outcomes, snapshot.outcomes),
  };
}

export function applyInbox(data: LiveData, inbox: Inbox, nowMs: number): LiveData {
  const next = { ...data };
  if (inbox.cameras.length > 0) {
    next.cameras = { ...data.cameras };
    next.raisedAtMs = { ...data.raisedAtMs };
    for (const event of inbox.cameras) {
      const before = next.cameras[event.cameraId];
      const risk = newerRisk(event.risk, before?.risk ?? null);
      if (risk?.riskLevel === "high" && before?.risk?.riskLevel !== "high") next.raisedAtMs[event.cameraId] = nowMs;
      // An event tells of the status, the risk, or both; null is "nothing new", not "gone".
      next.cameras[event.cameraId] = {
        cameraId: event.cameraId,
        status: event.status ?? before?.status ?? null,
        risk,
      };
    }
  }
  if (inbox.keyGroups.length > 0) {
    next.keyGroups = { ...data.keyGroups };
    for (const group of inbox.keyGroups) next.keyGroups[group.id] = group;
    next.coolingUntilMs = coolingUntil(data.coolingUntilMs, inbox.keyGroups, nowMs);
  }
  if (inbox.keyGroupChanges.length > 0)
    next.keyGroupChanges = mergeChanges(data.keyGroupChanges, inbox.keyGroupChanges);
  if (inbox.totals) next.totals = inbox.totals;
  if (inbox.health) next.health = inbox.health;
  if (inbox.outcomes.length > 0) next.outcomes = mergeOutcomes(data.outcomes, inbox.outcomes);
  return next;
}

/** So much later than reckoned before, and the cool-down has been extended; less is the way of the event. */
const EXTENDED_BY_MS = 3_000;

/** A countdown does not jump with each event, which comes a second or two after its snapshot was taken. */
function coolingUntil(before: LiveData["coolingUntilMs"], groups: readonly KeyGroupEvent[], nowMs: number) {
  const next = { ...before };
  for (const { id, state, coolingLeftMs } of groups) {
    const told = nowMs + coolingLeftMs;
    const known = before[id] ?? Number.POSITIVE_INFINITY;
    if (state !== "cooling") delete next[id];
    else next[id] = told > known + EXTENDED_BY_MS ? told : Math.min(told, known);
  }
  return next;
}

/** Each once, newest first: the id is a place in a stream, "<ms>-<number>". */
function mergeChanges(before: readonly KeyGroupChange[], arrived: readonly KeyGroupChange[]): KeyGroupChange[] {
  const byId = new Map([...before, ...arrived].map((change) => [change.id, change]));
  return [...byId.values()].sort((a, b) => b.id.localeCompare(a.id, "en", { numeric: true })).slice(0, KEPT_CHANGES);
}

/** Events may overtake each other: the one captured later stands, between equals the one that came later. */
function newerRisk(arrived: CameraRisk | null, before: CameraRisk | null): CameraRisk | null {
  if (!arrived || !before) return arrived ?? before;
  return (arrived.capturedAtMs ?? 0) >= (before.capturedAtMs ?? 0) ? arrived : before;
}

/** One for each task, its newest revision; newest first; capped, the risky ones kept longest. */
export function mergeOutcomes(before: OutcomeEvent[], arrived: OutcomeEvent[]): OutcomeEvent[] {
  const byTask = new Map<string, OutcomeEvent>();
  for (const event of [...before, ...arrived]) {
    const known = byTask.get(event.result.taskId);
    if (!known || event.result.revision >= known.result.revision) byTask.set(event.result.taskId, event);
  }
  const all = [...byTask.values()].sort((a, b) => b.shownAtMs - a.shownAtMs);
  if (all.length <= KEPT_OUTCOMES) return all;
  let risks = 0;
  let others = 0;
  return all.filter((event) =>
    isRisky(event) ? ++risks <= KEPT_RISKS : ++others <= KEPT_OUTCOMES - Math.min(KEPT_RISKS, risks),
  );
}

/** Judged medium or high. */
export function isRisky({ result }: OutcomeEvent): boolean {
  const level = result.results[0]?.riskLevel;
  return level === "medium" || level === "high";
}

/** True while no real LLM judges: said aloud wherever a verdict is shown. The key groups know best. */
export function isSimulated(data: LiveData): boolean {
  const groups = Object.values(data.keyGroups);
  if (groups.length > 0) return groups.some((group) => group.simulated);
  return data.outcomes.some((event) => event.result.metadata.simulated);
}
