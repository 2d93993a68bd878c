/**
 * How long tasks wait for quota, against the best that any scheduler could do with the same arrivals and the same guard.
 *
 *     node bench/quota/waits.ts [--rounds 5] [--seconds 20] [--warm-up 10] [--only load-0.8,load-0.9,load-0.95]
 *
 * Ten key groups of 5 calls a second and 300 a minute, Poisson arrivals at 0.8, 0.9 and 0.95 of the quota. A wait counts
 * from the moment at which the task was due until its call began (the stamp of its lease). The ideal: the same arrivals
 * replayed offline, pooled, with the guards that the groups had at each moment (ideal.ts); the same without a guard shows
 * what the guard itself costs. Aim: P95 ≤ 1.25 × the ideal + 15 ms.
 */
import { type BenchGroup, startEngine, tenGroups } from "./engine.ts";
import { logGuards } from "./guard-log.ts";
import { idealWaits, noGuard } from "./ideal.ts";
import { startLedger } from "./ledger.ts";
import { type Figure, p95, report } from "./report.ts";
import { interleave, readOptions } from "./rounds.ts";
import { measure } from "./run-at-load.ts";

const LOADS = [0.8, 0.9, 0.95];
const [FACTOR, EXTRA_MS] = [1.25, 15];

const options = readOptions();
const groups = tenGroups();

async function waitsAt(load: number, seed: number) {
  const engine = await startEngine({ groups, simulator: { seed } });
  const ledger = await startLedger(engine.store.url);
  const guards = await logGuards(engine.redis, groups);
  try {
    const { figures, startedAtMs, arrivalsMs, fromMs, toMs } = await measure(engine, ledger, {
      ...options,
      load,
      seed,
    });
    const ideal = (guardAt: typeof noGuard) => {
      const waits = idealWaits(arrivalsMs, groups.map(windowsOf), guardAt);
      return p95(waits.filter((_, i) => (arrivalsMs[i] ?? 0) >= fromMs && (arrivalsMs[i] ?? 0) < toMs));
    };
    const idealMs = ideal(guards.guardAt(startedAtMs));
    return {
      ...figures,
      idealMs,
      withoutGuardMs: ideal(noGuard),
      beyondAimMs: figures.waitP95Ms - FACTOR * idealMs - EXTRA_MS,
      guardMeanMs: guards.meanMs(),
    };
  } finally {
    await guards.stop();
    await ledger.stop();
    await engine.stop();
  }
}

function windowsOf({ windows: { requestsPerSecond, requestsPerMinute } }: BenchGroup) {
  return {
    windows: [
      ...(requestsPerSecond ? [{ limit: requestsPerSecond, windowMs: 1_000 }] : []),
      ...(requestsPerMinute ? [{ limit: requestsPerMinute, windowMs: 60_000 }] : []),
    ],
  };
}

const results = await interleave(
  Object.fromEntries(LOADS.map((load) => [`load-${load}`, (seed: number) => waitsAt(load, seed)])),
  options,
);
const figures = [...results].flatMap(([row, runs]): Figure[] => {
  const of = (what: keyof (typeof runs)[number]) => runs.map((run) => run[what]);
  return [
    { row, what: "wait P95, ms", values: of("waitP95Ms") },
    { row, what: "ideal P95 with the same guard, ms", values: of("idealMs") },
    { row, what: "ideal P95 without a guard, ms", values: of("withoutGuardMs") },
    { row, what: `wait P95 - (${FACTOR} x ideal + ${EXTRA_MS}), ms`, values: of("beyondAimMs"), aim: { atMost: 0 } },
    { row, what: "guard, mean, ms", values: of("guardMeanMs") },
    { row, what: "assessed share", values: of("assessedShare") },
    { row, what: "refused share", values: of("refusedShare") },
    { row, what: "load late at most, ms", values: of("offeredLateMs") },
  ];
});
report("quota-waits", figures, { ...options });
