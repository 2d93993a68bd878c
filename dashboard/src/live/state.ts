/** Everything the page knows, and how what arrives changes it. Pure: no sockets, no clock, no DOM. */
import type {
  CameraEvent,
  CameraRisk,
  Health,
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
  totals: Totals | null;
  health: Health | null;
}

export const emptyInbox = (): Inbox => ({ cameras: [], outcomes: [], keyGroups: [], totals: null, health: null });

export const isEmpty = (inbox: Inbox) =>
  inbox.cameras.length + inbox.outcomes.length + inbox.keyGroups.length === 0 && !inbox.totals && !inbox.health;

/** Kept of all outcomes, and of those the medium and high ones, which outlive the rest. */
const KEPT_OUTCOMES = 200;
const KEPT_RISKS = 100;

export function applySnapshot(data: LiveData, snapshot: Snapshot, clockOffsetMs: number): LiveData {
  return {
    ...data,
    loaded: true,
    clockOffsetMs,
    cameras: Object.fromEntries(snapshot.cameras.map((camera) => [camera.cameraId, camera])),
    keyGroups: Object.fromEntries(snapshot.keyGroups.map((group) => [group.id, group])),
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
  }
  if (inbox.totals) next.totals = inbox.totals;
  if (inbox.health) next.health = inbox.health;
  if (inbox.outcomes.length > 0) next.outcomes = mergeOutcomes(data.outcomes, inbox.outcomes);
  return next;
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
