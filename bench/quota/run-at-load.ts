/** One run of the engine under a load, measured at the provider and at the results. */
import { anArrival } from "../../test/support/tasks.ts";
import { drawArrivals, type Offering, offerOpenLoop } from "./arrivals.ts";
import { type Engine, type EngineOptions, startEngine } from "./engine.ts";
import { logGuards } from "./guard-log.ts";
import { type Ledger, startLedger } from "./ledger.ts";
import { p95 } from "./report.ts";

/** Cameras take turns in the order of the arrivals, so that turns alone decide nothing. */
const CAMERAS = 200;
/** Longest that a task can take after its deadline until it is published, with much to spare. */
export const SETTLE_MS = 30_000;

export interface RunOptions {
  /** Tasks offered ÷ sum of the quota. */
  load: number;
  warmUpSeconds: number;
  seconds: number;
  seed: number;
  /** Default 10, as cameras have it. */
  freshnessSeconds?: number;
}

export interface RunFigures {
  /** Calls answered with a verdict ÷ sum of the quota. */
  goodput: number;
  callsPerSecond: number;
  /** Of all calls, refused for their rate. */
  refusedShare: number;
  /** From the moment at which a task was due until its call began; of those due in the measured time. */
  waitP95Ms: number;
  /** Of those due in the measured time, with a verdict. */
  assessedShare: number;
  lost: number;
  doubled: number;
  /** Ended as failed: refused three times, or a fault of ours. */
  failed: number;
  /** How late the load itself was at most: large where the machine has no time. */
  offeredLateMs: number;
}

/** Starts an engine, runs it under the load, stops it. guardMs: the mean over groups and time, warm-up included. */
export async function runAtLoad(options: EngineOptions, run: RunOptions): Promise<RunFigures & { guardMs: number }> {
  const engine = await startEngine(options);
  try {
    const ledger = await startLedger(engine.store.url);
    try {
      const guards = await logGuards(engine.redis, options.groups);
      const { figures } = await measure(engine, ledger, run);
      await guards.stop();
      return { ...figures, guardMs: guards.meanMs() };
    } finally {
      await ledger.stop();
    }
  } finally {
    await engine.stop();
  }
}

export interface Measured {
  figures: RunFigures;
  /** Wall clock of the plan's start. */
  startedAtMs: number;
  /** The whole plan, ms since its start; measured were those due from `fromMs` to `toMs`. */
  arrivalsMs: number[];
  fromMs: number;
  toMs: number;
}

export async function measure(engine: Engine, ledger: Ledger, run: RunOptions): Promise<Measured> {
  const perSecond = engine.quotaPerSecond * run.load;
  const arrivalsMs = drawArrivals({ perSecond, seconds: run.warmUpSeconds + run.seconds + 2, seed: run.seed });
  const { offering, taskIds } = offerTasks(engine, arrivalsMs, run.freshnessSeconds ?? 10);
  const [fromMs, toMs] = [run.warmUpSeconds * 1_000, (run.warmUpSeconds + run.seconds) * 1_000];
  const seenAt = async (afterMs: number) => {
    await sleep(offering.startedAtMs + afterMs - Date.now());
    return engine.provider.seen();
  };
  const before = await seenAt(fromMs);
  const after = await seenAt(toMs);
  await offering.done;
  const { lost, doubled } = await ledger.settled(taskIds, SETTLE_MS);

  const seconds = (after.atMs - before.atMs) / 1_000;
  const calls = after.calls - before.calls;
  const ended = arrivalsMs.map((dueMs, nth) => ({ dueMs, end: ledger.of(taskIds[nth] ?? "") }));
  const measured = ended.filter(({ dueMs }) => dueMs >= fromMs && dueMs < toMs);
  const waits = measured.flatMap(({ dueMs, end }) =>
    end?.outcome === "assessed" && end.startedAtMs !== undefined
      ? [end.startedAtMs - offering.startedAtMs - dueMs]
      : [],
  );
  const figures: RunFigures = {
    goodput: (after.ok - before.ok) / seconds / engine.quotaPerSecond,
    callsPerSecond: (after.ok - before.ok) / seconds,
    refusedShare: calls === 0 ? Number.NaN : (after.refusedForRate - before.refusedForRate) / calls,
    waitP95Ms: p95(waits),
    assessedShare: waits.length / measured.length,
    lost: lost.length,
    doubled: doubled.length,
    failed: ended.filter(({ end }) => end?.outcome === "failed").length,
    offeredLateMs: Math.round(offering.offered().latestMs),
  };
  return { figures, startedAtMs: offering.startedAtMs, arrivalsMs, fromMs, toMs };
}

/** Offers a task at each of these moments, by the waiting room's door. */
export function offerTasks(
  { room, imageUrl }: Pick<Engine, "room" | "imageUrl">,
  arrivalsMs: readonly number[],
  freshnessSeconds: number,
): { offering: Offering; taskIds: string[] } {
  const run = Math.random().toString(36).slice(2, 8);
  const taskIds = arrivalsMs.map((_, nth) => `${run}-${nth}_group1`);
  const offering = offerOpenLoop(arrivalsMs, (nth, dueMs) => {
    const cameraId = `camera-${String(nth % CAMERAS).padStart(3, "0")}`;
    const moments = { capturedAtMs: dueMs, detectedAtMs: dueMs };
    const arrival = anArrival({ taskId: taskIds[nth] ?? "", cameraId, imageUrl, freshnessSeconds, ...moments });
    room.admit([arrival]).catch((error: unknown) => {
      console.error(error); // it has no outcome then, and counts as lost
    });
  });
  return { offering, taskIds };
}

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, Math.max(0, ms)));
