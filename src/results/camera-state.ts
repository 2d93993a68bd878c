/**
 * What is known about a camera's danger, made of results in any order of arrival. The newest frame that has a verdict decides,
 * by (capturedAt, id of its detection); of its groups the worst verdict stands for the camera, and of each group the highest
 * revision. So an older verdict that comes later changes nothing, and a harmless group never hides a dangerous one beside it.
 */
import { z } from "zod";
import type { CameraRisk } from "../events.ts";
import { type AssessmentResult, Outcome, RISK_LEVELS, RiskLevel } from "../messages.ts";

const Verdict = z.object({
  revision: z.number(),
  messageId: z.string(),
  outcome: Outcome,
  riskLevel: RiskLevel,
  description: z.string(),
  riskTypes: z.array(z.string()),
  completedAtMs: z.number().nullable(),
  simulated: z.boolean(),
});
type Verdict = z.infer<typeof Verdict>;

/** Kept as JSON in the store: all that is needed to take the next result in, whichever it is. */
export const CameraState = z.object({
  /** How this camera's groups have ended, by outcome. A retry by hand moves its group from failed to its new outcome. */
  counts: z.record(z.string(), z.number()),
  /** The newest frame with a verdict. */
  newest: z
    .object({ capturedAtMs: z.number(), requestId: z.string(), verdicts: z.record(z.string(), Verdict) })
    .nullable(),
});
export type CameraState = z.infer<typeof CameraState>;

export const EMPTY: CameraState = { counts: {}, newest: null };

/** The state after one more result. Each (task id, revision) must be taken in once only: the caller sees to that. */
export function takeIn(state: CameraState, result: AssessmentResult): CameraState {
  const counts = { ...state.counts };
  for (const [outcome, change] of countsOf(result)) counts[outcome] = (counts[outcome] ?? 0) + change;
  return { counts, newest: newestOf(state.newest, result) };
}

/** What a result adds to the counts of outcomes. Below zero it may stand for the moment between two results out of order. */
export function countsOf({ outcome, revision }: AssessmentResult): [outcome: string, change: number][] {
  return revision === 1
    ? [[outcome, 1]]
    : [
        ["failed", -1],
        [outcome, 1],
      ];
}

function newestOf(newest: CameraState["newest"], result: AssessmentResult): CameraState["newest"] {
  const verdict = verdictOf(result);
  if (verdict === null) return newest;
  const { taskId, requestId } = result;
  const capturedAtMs = result.metadata.timings.capturedAt;
  const order = newest === null ? 1 : compare([capturedAtMs, requestId], [newest.capturedAtMs, newest.requestId]);
  if (newest === null || order > 0) return { capturedAtMs, requestId, verdicts: { [taskId]: verdict } };
  if (order < 0 || (newest.verdicts[taskId]?.revision ?? 0) >= verdict.revision) return newest;
  return { ...newest, verdicts: { ...newest.verdicts, [taskId]: verdict } };
}

/** Null: the task ended without a verdict, which says nothing about danger. */
function verdictOf({ outcome, revision, messageId, results, metadata }: AssessmentResult): Verdict | null {
  const entry = results[0];
  if (!entry || (outcome !== "assessed" && outcome !== "reused")) return null;
  const { riskLevel, description, riskTypes } = entry;
  const completedAtMs = metadata.timings.completedAt ?? null;
  return {
    revision,
    messageId,
    outcome,
    riskLevel,
    description,
    riskTypes,
    completedAtMs,
    simulated: metadata.simulated,
  };
}

/** What pages are told. */
export function riskOf(cameraId: string, { counts, newest }: CameraState): CameraRisk {
  const shownCounts = Object.fromEntries(
    Object.entries(counts).map(([outcome, count]) => [outcome, Math.max(0, count)]),
  );
  const worst = Object.values(newest?.verdicts ?? {}).toSorted(worstFirst)[0];
  if (!newest || !worst) {
    const nothing = { riskLevel: null, outcome: null, messageId: null, description: "", riskTypes: [] };
    return { cameraId, ...nothing, capturedAtMs: null, completedAtMs: null, simulated: false, counts: shownCounts };
  }
  const { revision: _, ...verdict } = worst;
  return { cameraId, ...verdict, capturedAtMs: newest.capturedAtMs, counts: shownCounts };
}

const severity = (level: RiskLevel) => RISK_LEVELS.indexOf(level);
const worstFirst = (a: Verdict, b: Verdict) =>
  severity(b.riskLevel) - severity(a.riskLevel) || compare([0, a.messageId], [0, b.messageId]);

function compare([aMs, a]: readonly [number, string], [bMs, b]: readonly [number, string]): number {
  return aMs - bMs || (a < b ? -1 : a > b ? 1 : 0);
}
